//! The words of events: types and names of functions.

use crate::history::Function;

/// The type of an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Type {
    Invoke,
    Ok,
    Refused,
    Fail,
    Info,
}

impl Type {
    pub fn named(name: &str) -> Option<Type> {
        match name {
            "invoke" => Some(Type::Invoke),
            "ok" => Some(Type::Ok),
            "refused" => Some(Type::Refused),
            "fail" => Some(Type::Fail),
            "info" => Some(Type::Info),
            _ => None,
        }
    }
}

/// The request that a function name makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    Plain(Function),
    /// A write of the second of two values if the current value is the first.
    Cas,
    /// An addition of the negated number.
    Subtract,
}

/// Returns the request that a function name makes.
pub fn named(name: &str) -> Option<Asked> {
    Some(Asked::Plain(match name {
        "read" | "get" | "r" | "read-init" => Function::Read,
        "write" | "put" | "w" => Function::Write,
        "cas" | "compare-and-set" | "compare_and_set" => return Some(Asked::Cas),
        "delete" | "del" => Function::Delete,
        "append" => Function::Append,
        "add" | "inc" | "increment" => Function::Add,
        "dec" | "decrement" => return Some(Asked::Subtract),
        "remove" => Function::Remove,
        "contains" => Function::Contains,
        "enqueue" | "push" => Function::Enqueue,
        "dequeue" | "pop" => Function::Dequeue,
        "acquire" | "lock" => Function::Acquire,
        "release" | "unlock" => Function::Release,
        "next" | "generate" => Function::Next,
        "txn" | "transaction" => Function::Txn,
        _ => return None,
    }))
}
