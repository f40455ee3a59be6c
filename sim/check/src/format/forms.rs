//! Reads histories that consist of forms: JSON objects and EDN maps, bare or in one array, vector or list.

use super::edn::{self, Item};
use super::intake::{Event, Intake, fault};
use super::json;
use super::source::Source;
use super::tree::{Fault, Stop, Tree, What};
use super::words::Type;
use super::{Error, Format};

/// Reads all forms of a source.
pub fn read(source: &mut Source, format: Format, intake: &mut Intake) -> Result<(), Error> {
    let mut tree = Tree::default();
    // The closing bracket of the open array, and the line where the array begins.
    let mut within: Option<(u8, u64)> = None;
    let mut after = false;
    loop {
        if format == Format::JsonLines && !after {
            let mut fields = Fields::default();
            if let Some(end) = usual(source.rest(), &mut tree, &mut fields) {
                intake.line = source.line();
                let taken = operation(&tree, source.rest(), 0, format, &mut fields, intake);
                taken.map_err(|fault| source.malformed(fault.at, fault.what))?;
                let line_end = match source.rest().as_bytes()[end..] {
                    [b'\n', ..] => 1,
                    [b'\r', b'\n', ..] => 2,
                    _ => 0,
                };
                source.consume(end + line_end);
                continue;
            }
        }
        let (end, item) = match next(source, format, &mut tree) {
            Ok(found) => found,
            Err(Stop::Bad(fault)) => return Err(source.malformed(fault.at, fault.what)),
            Err(Stop::More) if source.more()? => continue,
            Err(Stop::More) => {
                let end = source.rest().len();
                return Err(source.malformed(end, "the file ends in the middle of a form: it was cut off".to_owned()));
            }
        };
        match item {
            Item::End => break,
            Item::Nothing => {}
            _ if after => return Err(source.malformed(0, "nothing can follow the end of the history".to_owned())),
            Item::Open(closer) if within.is_none() => within = Some((closer, source.line())),
            Item::Open(_) => return Err(source.malformed(0, "expected an operation: a map".to_owned())),
            Item::Close(closer) => match within.take() {
                Some((wanted, _)) if wanted == closer => after = true,
                _ => return Err(source.malformed(0, format!("nothing that {} could close", char::from(closer)))),
            },
            Item::Form => {
                intake.line = source.line();
                let taken = form(&tree, source.rest(), format, intake);
                taken.map_err(|fault| source.malformed(fault.at, fault.what))?;
            }
        }
        source.consume(end);
    }
    if let Some((closer, line)) = within {
        let closer = char::from(closer);
        let what = format!("the file ends before the {closer} of what begins on line {line}: it was cut off");
        return Err(source.malformed(source.rest().len(), what));
    }
    Ok(())
}

/// Skips space and reads the next item.
fn next(source: &mut Source, format: Format, tree: &mut Tree) -> Result<(usize, Item), Stop> {
    let (text, last) = (source.rest(), source.is_last());
    let space = if format == Format::JsonLines { json::separators(text) } else { edn::space(text, last)? };
    source.consume(space);
    let text = source.rest();
    if format == Format::Edn {
        return edn::item(text, last, tree);
    }
    match text.as_bytes().first() {
        None if last => Ok((0, Item::End)),
        None => Err(Stop::More),
        Some(b'[') => Ok((1, Item::Open(b']'))),
        Some(b']') => Ok((1, Item::Close(b']'))),
        Some(b'{') => {
            tree.clear();
            Ok((json::value(text, 0, 0, tree)?, Item::Form))
        }
        Some(_) => Stop::bad(0, "not an event: expected {\"process\":…,\"type\":…,\"f\":…"),
    }
}

/// Fast path for the usual object: known field names, no name twice, no space before colons. Stores the nodes of its
/// fields in `fields`. Returns `None` if the general parser must read the object from its beginning.
fn usual(text: &str, tree: &mut Tree, fields: &mut Fields) -> Option<usize> {
    let bytes = text.as_bytes();
    if bytes.first() != Some(&b'{') {
        return None;
    }
    tree.clear();
    tree.push(0, What::Map(0));
    let mut at = 1;
    loop {
        let name = at + 1;
        let length = bytes.get(name..)?.iter().take(9).position(|&byte| byte == b'"')?;
        let value = name + length + 2;
        if (bytes[at], *bytes.get(value - 1)?) != (b'"', b':') {
            return None;
        }
        let field = fields.field(&text[name..name + length]).filter(|field| field.is_none())?;
        *field = Some(tree.len());
        at = match json::plain(bytes, value) {
            Some((what, end)) => {
                tree.push(value, what);
                end
            }
            None => json::value(text, value, 1, tree).ok()?,
        };
        match bytes.get(at)? {
            b',' => at += 1,
            b'}' => break,
            _ => return None,
        }
    }
    tree.close(0);
    Some(at + 1)
}

/// The fields of an operation, as nodes.
#[derive(Default)]
struct Fields {
    position: Option<usize>,
    index: Option<usize>,
    time: Option<usize>,
    process: Option<usize>,
    kind: Option<usize>,
    initial: Option<usize>,
    error: Option<usize>,
    event: Event,
}

impl Fields {
    /// The field with this name.
    #[inline]
    fn field(&mut self, name: &str) -> Option<&mut Option<usize>> {
        Some(match name {
            "i" => &mut self.position,
            "index" => &mut self.index,
            "t" | "time" => &mut self.time,
            "p" | "process" => &mut self.process,
            "type" => &mut self.kind,
            "f" => &mut self.event.f,
            "k" | "key" => &mut self.event.key,
            "v" | "value" => &mut self.event.value,
            "rev" | "revision" => &mut self.event.revision,
            "if" => &mut self.event.when,
            "delete" => &mut self.event.delete,
            "refused" => &mut self.event.refused,
            "found" => &mut self.event.found,
            "initial" => &mut self.initial,
            "error" => &mut self.error,
            _ => return None,
        })
    }
}

/// Records a form, which must be an operation.
fn form(tree: &Tree, text: &str, format: Format, intake: &mut Intake) -> Result<(), Fault> {
    let root = match tree.node(0).what {
        // A record. Its tag adds no information.
        What::Tagged(_) => 2,
        _ => 0,
    };
    if !matches!(tree.node(root).what, What::Map(_)) {
        return fault(tree.node(root).at as usize, "expected an operation: a map");
    }
    let mut fields = Fields::default();
    let mut name = root + 1;
    let end = tree.next(root);
    while name < end {
        let value = tree.next(name);
        let known = tree.name(name, text).unwrap_or_default();
        match fields.field(known) {
            Some(field @ None) => *field = Some(value),
            Some(_) => return fault(tree.node(name).at as usize, format!("{known} stands here twice")),
            None => intake.skip(&format!("fields that mean nothing here: {known}")),
        }
        name = tree.next(value);
    }
    operation(tree, text, root, format, &mut fields, intake)
}

/// Records an operation.
fn operation(
    tree: &Tree,
    text: &str,
    root: usize,
    format: Format,
    fields: &mut Fields,
    intake: &mut Intake,
) -> Result<(), Fault> {
    let place = |node: Option<usize>| tree.node(node.unwrap_or(root)).at as usize;
    if let (None, None, Some(node)) = (fields.kind, fields.process, fields.initial) {
        return initial(tree, text, node, intake);
    }
    if let Some(node) = fields.position
        && format == Format::JsonLines
    {
        position(tree, node, intake)?;
    }
    let Some(kind) = fields.kind else { return fault(place(None), "expected \"type\": invoke, ok, fail or info") };
    let Some(process) = process(tree, text, format, fields, intake)? else { return Ok(()) };
    let Some(kind) = tree.name(kind, text).and_then(Type::named) else {
        return fault(place(fields.kind), "expected one of the types invoke, ok, refused, fail, info");
    };
    fields.event.time = time(tree, fields.time, intake);
    fields.event.at = place(None);
    fields.event.process_at = place(fields.process);
    intake.take(tree, text, process, kind, &fields.event)
}

/// Returns the client, or `None` if there is no client and the operation is left out.
fn process(
    tree: &Tree,
    text: &str,
    format: Format,
    fields: &Fields,
    intake: &mut Intake,
) -> Result<Option<u32>, Fault> {
    let Some(node) = fields.process else {
        intake.remark("operations without a process: taken for those of one process, 0");
        return Ok(Some(0));
    };
    let at = tree.node(node).at as usize;
    match tree.node(node).what {
        What::Int(n) => match u32::try_from(n) {
            Ok(n) => Ok(Some(n)),
            Err(_) => fault(at, "a process is a number from 0 to 4294967295"),
        },
        What::Symbol(span) | What::Text(span) => {
            let name = tree.text(span, text);
            let word = matches!(tree.node(node).what, What::Symbol(_));
            if name == "nemesis" || word && format == Format::Edn {
                intake.skip(&format!("operations of {name}, which is no client"));
                return Ok(None);
            }
            fault(at, "a process is a number; only operations of \"nemesis\" are left out")
        }
        _ => fault(at, "a process is a number"),
    }
}

/// Checks the position field of our own format.
fn position(tree: &Tree, node: usize, intake: &Intake) -> Result<(), Fault> {
    let expected = i64::from(intake.recorder.history().events());
    let at = tree.node(node).at as usize;
    match tree.node(node).what {
        What::Int(n) if n == expected => Ok(()),
        What::Int(n) => fault(at, format!("event {n} where {expected} was expected: positions have no gaps")),
        _ => fault(at, "expected the position of the event, a whole number"),
    }
}

fn time(tree: &Tree, node: Option<usize>, intake: &mut Intake) -> u64 {
    match node.map(|node| tree.node(node).what) {
        None | Some(What::Nil) => 0,
        // Jepsen's clock starts slightly before zero.
        Some(What::Int(n)) => u64::try_from(n).unwrap_or(0),
        Some(_) => {
            intake.remark("times that are no whole numbers: not shown");
            0
        }
    }
}

/// `{"initial":…}`: the initial value of every object, unless the caller gave one.
fn initial(tree: &Tree, text: &str, node: usize, intake: &mut Intake) -> Result<(), Fault> {
    if intake.recorder.history().events() != 0 {
        return fault(tree.node(node).at as usize, "what objects hold at first must be said before the first event");
    }
    let value = intake.value(tree, text, node);
    intake.initial(value);
    Ok(())
}
