//! One form as a flat tree: what the syntaxes have in common, before anything is made of it.
//!
//! Nodes stand in the order of the text, each container before its content; it knows where its content ends. So walking is
//! going on, and nothing is allocated for a form when the vector has grown to its size once.

/// Deepest nesting accepted. Values are shown and compared recursively.
pub const MAX_DEPTH: usize = 64;

/// Why a form cannot be read.
#[derive(Debug)]
pub enum Stop {
    /// The text ends before the form does.
    More,
    /// What stands here cannot stand here.
    Bad(Box<Fault>),
}

/// Something that cannot come here: where in the text, and what was expected.
#[derive(Debug)]
pub struct Fault {
    pub at: usize,
    pub what: String,
}

impl Stop {
    pub fn bad<T>(at: usize, what: impl Into<String>) -> Result<T, Stop> {
        Err(Stop::Bad(Box::new(Fault { at, what: what.into() })))
    }
}

/// A piece of text: of the source, or unescaped in the tree's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    start: u32,
    end: u32,
    own: bool,
}

/// What a node is; containers: where their content ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    Nil,
    Bool(bool),
    Int(i64),
    Text(Span),
    /// Keywords, floats and all else that is only equal to itself.
    Symbol(Span),
    List(u32),
    Set(u32),
    /// Names and values in turn.
    Map(u32),
    /// A tag and what it tags.
    Tagged(u32),
}

#[derive(Clone, Copy, Debug)]
pub struct Node {
    pub what: What,
    /// Where it stands in the source.
    pub at: u32,
}

/// The nodes of a form; the first is its root.
#[derive(Default, Debug)]
pub struct Tree {
    nodes: Vec<Node>,
    own: String,
}

impl Tree {
    pub fn clear(&mut self) {
        self.nodes.clear();
        self.own.clear();
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Forgets the nodes from this one on.
    pub fn cut(&mut self, node: usize) {
        self.nodes.truncate(node);
    }

    pub fn node(&self, i: usize) -> Node {
        self.nodes[i]
    }

    pub fn push(&mut self, at: usize, what: What) {
        self.nodes.push(Node { what, at: at as u32 });
    }

    /// Makes the last container end here.
    pub fn close(&mut self, container: usize) {
        let now = self.nodes.len() as u32;
        if let What::List(end) | What::Set(end) | What::Map(end) | What::Tagged(end) = &mut self.nodes[container].what {
            *end = now;
        }
    }

    /// Makes a node something else.
    pub fn replace(&mut self, node: usize, what: What) {
        self.nodes[node].what = what;
    }

    /// A piece of the source.
    pub fn span(start: usize, end: usize) -> Span {
        Span { start: start as u32, end: end as u32, own: false }
    }

    /// A text that does not stand in the source.
    pub fn keep(&mut self, text: &str) -> Span {
        let start = self.own.len() as u32;
        self.own.push_str(text);
        Span { start, end: self.own.len() as u32, own: true }
    }

    /// The text of a span.
    pub fn text<'a>(&'a self, span: Span, source: &'a str) -> &'a str {
        let whole = if span.own { &self.own } else { source };
        &whole[span.start as usize..span.end as usize]
    }

    /// A name: a text, or a keyword without its colon, or a symbol.
    pub fn name<'a>(&'a self, node: usize, source: &'a str) -> Option<&'a str> {
        match self.nodes[node].what {
            What::Text(span) => Some(self.text(span, source)),
            What::Symbol(span) => {
                let name = self.text(span, source);
                Some(name.strip_prefix(':').unwrap_or(name))
            }
            _ => None,
        }
    }

    /// The node after this one and its content.
    pub fn next(&self, i: usize) -> usize {
        match self.nodes[i].what {
            What::List(end) | What::Set(end) | What::Map(end) | What::Tagged(end) => end as usize,
            _ => i + 1,
        }
    }

    /// The nodes directly in a container.
    pub fn content(&self, container: usize) -> impl Iterator<Item = usize> {
        let end = self.next(container);
        let first = Some(container + 1).filter(|&i| i < end);
        std::iter::successors(first, move |&i| Some(self.next(i)).filter(|&i| i < end))
    }

    /// The two nodes of a list of two.
    pub fn pair(&self, i: usize) -> Option<(usize, usize)> {
        let What::List(end) = self.nodes[i].what else { return None };
        let mut content = self.content(i);
        let (a, b) = (content.next()?, content.next()?);
        (self.next(b) == end as usize).then_some((a, b))
    }

    /// The one spelling of a node: entries of maps and elements of sets are sorted, so equal forms have equal spellings.
    pub fn canonical(&self, i: usize, source: &str) -> String {
        let content = || self.content(i).map(|part| self.canonical(part, source)).collect::<Vec<String>>();
        match self.nodes[i].what {
            What::Nil => "nil".to_owned(),
            What::Bool(yes) => yes.to_string(),
            What::Int(n) => n.to_string(),
            What::Text(span) => format!("{:?}", self.text(span, source)),
            What::Symbol(span) => self.text(span, source).to_owned(),
            What::List(_) => format!("[{}]", content().join(" ")),
            What::Tagged(_) => content().join(" "),
            What::Set(_) => {
                let mut elements = content();
                elements.sort_unstable();
                elements.dedup();
                format!("#{{{}}}", elements.join(" "))
            }
            What::Map(_) => {
                let mut entries: Vec<String> = content().chunks(2).map(|entry| entry.join(" ")).collect();
                entries.sort_unstable();
                format!("{{{}}}", entries.join(", "))
            }
        }
    }
}
