//! `docs/placement.md` and its picture show what is measured. After an intended change, run with `UPDATE_DOCS=1`.

use seaworthy_sim::placement::{markdown, measure, svg};
use std::fs;
use std::path::Path;

#[test]
fn the_document_shows_what_is_measured() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let (page, picture) = (docs.join("placement.md"), docs.join("placement.svg"));
    // The defaults of `cargo sim placement`.
    let report = measure(50, 20_000);
    let text = fs::read_to_string(&page).unwrap();
    let (before, rest) = text.split_once("<!-- sim placement -->\n").expect("the tables' opening mark");
    let (shown, after) = rest.split_once("<!-- end -->").expect("the tables' end mark");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&page, format!("{before}<!-- sim placement -->\n{}<!-- end -->{after}", markdown(&report))).unwrap();
        fs::write(&picture, svg(&report)).unwrap();
    } else {
        assert_eq!(shown, markdown(&report), "docs/placement.md is out of date; UPDATE_DOCS=1 renews it");
        assert!(fs::read_to_string(&picture).unwrap() == svg(&report), "docs/placement.svg is out of date");
    }
}
