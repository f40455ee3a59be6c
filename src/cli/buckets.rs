//! The part of the configuration that determines placement: groups, zones and regions of servers, buckets.
//!
//! It must be the same for every server: a key's replicas are computed from it, not agreed upon.

use super::fields::{Mistake, bounded, checked, node_id};
use crate::placement::{Buckets, Layout, MAX_CAPACITY, Member, SLOTS};
use crate::types::{Level, MAX_REPLICAS, Mode, NodeId, Policy, Resolve};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;
use toml::Spanned;

/// Name of the default bucket, which holds all keys in no other bucket.
const DEFAULT: &str = "default";
/// Maximum length of a bucket name, in bytes.
const MAX_NAME: usize = 64;
/// Maximum length of a zone or region name, in bytes.
const MAX_PLACE: usize = 64;
/// Maximum number of buckets.
const MAX_BUCKETS: usize = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Place {
    zone: Option<Spanned<String>>,
    region: Option<Spanned<String>>,
    capacity: Option<Spanned<u64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bucket {
    name: Spanned<String>,
    mode: Spanned<String>,
    n: Option<Spanned<u64>>,
    r: Option<Spanned<toml::Value>>,
    w: Option<Spanned<toml::Value>>,
    sloppy: Option<Spanned<bool>>,
    resolve: Option<Spanned<String>>,
}

/// The placement settings of a configuration file.
pub(super) struct Said<'a> {
    pub nodes: Vec<NodeId>,
    pub groups: Option<&'a Spanned<u64>>,
    pub voters: Option<&'a Spanned<u64>>,
    pub places: &'a BTreeMap<Spanned<String>, Place>,
    pub buckets: &'a [Bucket],
}

impl Said<'_> {
    /// Builds the layout, or reports the first mistake.
    pub fn layout(&self) -> Result<Layout, Mistake> {
        let mut members: Vec<Member> = self.nodes.iter().copied().map(Member::plain).collect();
        for (name, place) in self.places {
            let id = checked(name, node_id)?;
            let Some(member) = members.iter_mut().find(|m| m.id == id) else {
                return Err((Some(name.span()), format!("{id} is not in [nodes]")));
            };
            let named =
                |text: &Option<Spanned<String>>| text.as_ref().map_or(Ok(String::new()), |t| checked(t, place_name));
            (member.zone, member.region) = (named(&place.zone)?, named(&place.region)?);
            member.capacity = bounded(place.capacity.as_ref(), 0..=u64::from(MAX_CAPACITY))?.map_or(1, |c| c as u32);
        }
        if members.iter().all(|m| m.capacity == 0) {
            let span = self.places.values().find_map(|place| place.capacity.as_ref()).map(Spanned::span);
            return Err((span, "a cluster needs a node with a capacity above 0".to_owned()));
        }
        let groups = bounded(self.groups, 1..=u64::from(SLOTS))?.unwrap_or(1) as u32;
        let voters = bounded(self.voters, 1..=self.nodes.len() as u64)?.map_or(u32::MAX, |v| v as u32);
        Ok(Layout::new(members, buckets(self.buckets)?, groups, voters))
    }
}

fn buckets(declared: &[Bucket]) -> Result<Buckets, Mistake> {
    if let Some(one_too_many) = declared.get(MAX_BUCKETS) {
        return Err((Some(one_too_many.name.span()), format!("more than {MAX_BUCKETS} buckets")));
    }
    let mut buckets = Buckets::default();
    let mut default = None;
    for bucket in declared {
        let name = checked(&bucket.name, bucket_name)?;
        let mode = bucket.mode()?;
        let known = if name == DEFAULT { default.replace(mode) } else { buckets.named.insert(name.clone(), mode) };
        if known.is_some() {
            return Err((Some(bucket.name.span()), format!("bucket {name:?} is here twice")));
        }
    }
    buckets.default = default.unwrap_or_default();
    Ok(buckets)
}

impl Bucket {
    fn mode(&self) -> Result<Mode, Mistake> {
        match self.mode.get_ref().as_str() {
            "ap" => self.policy().map(Mode::Ap),
            "cp" => match self.quorum_setting() {
                None => Ok(Mode::Cp),
                Some((span, word)) => Err((Some(span), format!("{word} is a setting of buckets of mode \"ap\""))),
            },
            other => Err((Some(self.mode.span()), format!("expected \"cp\" or \"ap\", found {other:?}"))),
        }
    }

    /// Returns any setting that is valid only for a quorum bucket.
    fn quorum_setting(&self) -> Option<(Range<usize>, &'static str)> {
        let n = self.n.as_ref().map(|s| (s.span(), "n"));
        let r = self.r.as_ref().map(|s| (s.span(), "r"));
        let w = self.w.as_ref().map(|s| (s.span(), "w"));
        let sloppy = self.sloppy.as_ref().map(|s| (s.span(), "sloppy"));
        n.or(r).or(w).or(sloppy).or(self.resolve.as_ref().map(|s| (s.span(), "resolve")))
    }

    fn policy(&self) -> Result<Policy, Mistake> {
        let usual = Policy::default();
        let n = bounded(self.n.as_ref(), 1..=u64::from(MAX_REPLICAS))?.map_or(usual.n, |n| n as u8);
        let resolve = match &self.resolve {
            Some(text) => checked(text, |word| {
                let words = "siblings, last-writer, counter, pn-counter, register, set or map";
                Resolve::parse(word).ok_or_else(|| format!("expected {words}, found {word:?}"))
            })?,
            None => usual.resolve,
        };
        let sloppy = self.sloppy.as_ref().map_or(usual.sloppy, |sloppy| *sloppy.get_ref());
        Ok(Policy { n, r: level(self.r.as_ref(), n)?, w: level(self.w.as_ref(), n)?, sloppy, resolve })
    }
}

/// Parses a level: a word, or a number up to `n`; the default is a quorum.
fn level(value: Option<&Spanned<toml::Value>>, n: u8) -> Result<Level, Mistake> {
    let Some(value) = value else { return Ok(Level::Quorum) };
    let (text, shown) = match value.get_ref() {
        toml::Value::String(text) => (text.clone(), format!("{text:?}")),
        toml::Value::Integer(number) => (number.to_string(), number.to_string()),
        other => (String::new(), other.to_string()),
    };
    match Level::parse(&text) {
        Some(level) if !matches!(level, Level::Count(count) if count > n) => Ok(level),
        _ => {
            let what = format!("expected one, quorum, all, local-quorum or a number from 1 to {n}, found {shown}");
            Err((Some(value.span()), what))
        }
    }
}

fn bucket_name(name: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if (1..=MAX_NAME).contains(&name.len()) && name.chars().all(good) {
        return Ok(name.to_owned());
    }
    Err(format!("a bucket's name is 1 to {MAX_NAME} letters, digits, '-', '_', '.'; found {name:?}"))
}

fn place_name(name: &str) -> Result<String, String> {
    if name.len() <= MAX_PLACE {
        return Ok(name.to_owned());
    }
    Err(format!("the name of a zone or region has at most {MAX_PLACE} bytes"))
}

/// Converts the argument of `--bucket` to a `[[bucket]]` section: `carts=ap,n=3,r=quorum,sloppy,resolve=siblings`.
///
/// # Errors
/// The text has another form, or a file with this section would be refused.
pub(super) fn bucket_flag(text: &str) -> Result<String, String> {
    let mut words = text.split(',');
    let Some((name, mode)) = words.next().and_then(|first| first.split_once('=')) else {
        return Err("expected a bucket like carts=ap,n=3,r=quorum,w=quorum,sloppy,resolve=siblings".to_owned());
    };
    let mut section = format!("[[bucket]]\nname = {name:?}\nmode = {mode:?}\n");
    for word in words {
        let line = match word.split_once('=') {
            None if word == "sloppy" => "sloppy = true".to_owned(),
            None if word == "strict" => "sloppy = false".to_owned(),
            Some((key @ ("n" | "r" | "w"), number)) if number.parse::<u32>().is_ok() => format!("{key} = {number}"),
            Some((key @ ("n" | "r" | "w" | "resolve"), word)) => format!("{key} = {word:?}"),
            _ => return Err(format!("expected n=…, r=…, w=…, sloppy, strict or resolve=…, found {word:?}")),
        };
        let _ = writeln!(section, "{line}");
    }
    #[derive(Deserialize)]
    struct Sections {
        bucket: Vec<Bucket>,
    }
    let parsed: Sections = toml::from_str(&section).map_err(|e| e.message().replace('\n', ", "))?;
    buckets(&parsed.bucket).map_err(|(_, what)| what)?;
    Ok(section)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The section and the flag shown in docs/deploying.md are equivalent, and both state the defaults.
    #[test]
    fn the_documented_bucket_is_as_it_is_documented() {
        let docs = include_str!("../../docs/deploying.md");
        let section = docs.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
        let flag =
            docs.split("local-cluster --bucket ").nth(1).and_then(|rest| rest.split('`').next()).expect("a flag");
        for text in [section.to_owned(), bucket_flag(flag).expect("good")] {
            #[derive(Deserialize)]
            struct Sections {
                bucket: Vec<Bucket>,
            }
            let parsed: Sections = toml::from_str(&text).expect("TOML");
            let named = buckets(&parsed.bucket).expect("good").named;
            assert_eq!(named, BTreeMap::from([("carts".to_owned(), Mode::Ap(Policy::default()))]));
        }
    }

    #[test]
    fn a_flag_is_a_section() {
        let section = bucket_flag("carts=ap,n=3,r=quorum,w=2,strict,resolve=set").expect("good");
        let expected = "[[bucket]]\nname = \"carts\"\nmode = \"ap\"\nn = 3\nr = \"quorum\"\nw = 2\nsloppy = false\nresolve = \"set\"\n";
        assert_eq!(section, expected);
        for (flag, why) in [
            ("carts", "expected a bucket like"),
            ("=ap", "a bucket's name is"),
            ("a/b=ap", "a bucket's name is"),
            ("a\"b=ap", "a bucket's name is"),
            ("carts=ca", "expected \"cp\" or \"ap\""),
            ("carts=cp,n=3", "n is a setting of buckets of mode \"ap\""),
            ("carts=ap,n=8", "expected a number from 1 to 7, found 8"),
            ("carts=ap,n=2,w=3", "expected one, quorum, all, local-quorum or a number from 1 to 2, found 3"),
            ("carts=ap,n=many", "invalid type"),
            ("carts=ap,resolve=dice", "expected siblings, last-writer"),
            ("carts=ap,lazy", "expected n=…, r=…, w=…, sloppy, strict or resolve=…, found \"lazy\""),
            ("carts=ap,r=1,r=2", "duplicate key"),
        ] {
            let error = bucket_flag(flag).expect_err(flag);
            assert!(error.starts_with(why) && !error.contains('\n'), "{flag}: {error:?}");
        }
    }
}
