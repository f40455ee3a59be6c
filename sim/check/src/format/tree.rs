//! One form as a flat tree: the common result of the parsers, before interpretation.
//!
//! Nodes are in the order of the text, each container before its content. A container stores the index at which its
//! content ends. So a walk goes forward through the vector, and nothing is allocated for a form once the vector is
//! large enough.

/// Deepest nesting accepted. Limited because values are displayed and compared recursively.
pub const MAX_DEPTH: usize = 64;

/// Why a form cannot be read.
#[derive(Debug)]
pub enum Stop {
    /// The text ends before the form does.
    More,
    /// The text here is not valid.
    Bad(Box<Fault>),
}

/// An error in the text: its position, and what was expected.
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

/// A piece of text: a range of the source, or of the tree's own text if it had escapes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    start: u32,
    end: u32,
    own: bool,
}

/// The kind of a node. Containers store the index at which their content ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    Nil,
    Bool(bool),
    Int(i64),
    Text(Span),
    /// Keywords, floats and everything else that is only equal to itself.
    Symbol(Span),
    List(u32),
    Set(u32),
    /// Names and values, alternating.
    Map(u32),
    /// A tag and the tagged form.
    Tagged(u32),
}

#[derive(Clone, Copy, Debug)]
pub struct Node {
    pub what: What,
    /// Position in the source.
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

    /// Removes this node and all nodes after it.
    pub fn cut(&mut self, node: usize) {
        self.nodes.truncate(node);
    }

    pub fn node(&self, i: usize) -> Node {
        self.nodes[i]
    }

    pub fn push(&mut self, at: usize, what: What) {
        self.nodes.push(Node { what, at: at as u32 });
    }

    /// Sets the end of a container to the current end of the tree.
    pub fn close(&mut self, container: usize) {
        let now = self.nodes.len() as u32;
        if let What::List(end) | What::Set(end) | What::Map(end) | What::Tagged(end) = &mut self.nodes[container].what {
            *end = now;
        }
    }

    /// Changes the kind of a node.
    pub fn replace(&mut self, node: usize, what: What) {
        self.nodes[node].what = what;
    }

    /// A range of the source.
    pub fn span(start: usize, end: usize) -> Span {
        Span { start: start as u32, end: end as u32, own: false }
    }

    /// Stores a text that is not in the source.
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

    /// The index of the node after this one and its content.
    pub fn next(&self, i: usize) -> usize {
        match self.nodes[i].what {
            What::List(end) | What::Set(end) | What::Map(end) | What::Tagged(end) => end as usize,
            _ => i + 1,
        }
    }

    /// The nodes directly inside a container.
    pub fn content(&self, container: usize) -> impl Iterator<Item = usize> {
        let end = self.next(container);
        let first = Some(container + 1).filter(|&i| i < end);
        std::iter::successors(first, move |&i| Some(self.next(i)).filter(|&i| i < end))
    }

    /// The two nodes of a list that has exactly two.
    pub fn pair(&self, i: usize) -> Option<(usize, usize)> {
        let What::List(end) = self.nodes[i].what else { return None };
        let mut content = self.content(i);
        let (a, b) = (content.next()?, content.next()?);
        (self.next(b) == end as usize).then_some((a, b))
    }

    /// The canonical spelling of a node. Entries of maps and elements of sets are sorted, so equal forms have equal
    /// spellings.
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
