//! Shared by the tests of the formats: readable histories, and files of every shape.
#![allow(dead_code)] // Each test uses only a part.

use seaworthy_check::format::{Error, ReadOptions, Reading, read};
use seaworthy_check::{Function, History, Value};
use std::fmt::Write as _;

/// Reads a text with the default options.
pub fn reading(text: &str) -> Result<Reading, Error> {
    read(text.as_bytes(), &ReadOptions::default())
}

/// Shows everything that was read, or the error.
pub fn told(reading: &Result<Reading, Error>) -> String {
    match reading {
        Err(error) => format!("ERROR {error}\n"),
        Ok(reading) => {
            let Reading { history, format, settings, understood, .. } = reading;
            format!("{}: {settings}\n{understood}\n{}", format.name(), show(history))
        }
    }
}

/// Shows every operation, one per line.
pub fn show(history: &History) -> String {
    let mut out = String::new();
    for op in history.operations() {
        let place = |event: u32| match history.line(event) {
            Some(line) => format!("{event}@{line}"),
            None => event.to_string(),
        };
        let returned = if op.returned == u32::MAX { "never".to_owned() } else { place(op.returned) };
        let _ = write!(out, "  {} {}..{returned} {} ", op.process, place(op.called), history.function(op.f));
        if op.f == Function::Txn {
            for step in history.micro_ops(op) {
                let key = history.show(history.key_value(step.key));
                let list = history.list(step).map(|list| {
                    let shown: Vec<String> = list.iter().map(|&value| history.show(value)).collect();
                    shown.join(" ")
                });
                let value = list.map_or_else(|| history.show(step.value), |list| format!("[{list}]"));
                let _ = write!(out, "({} {key} {value})", history.function(step.f));
            }
        } else {
            let _ = write!(out, "{}", history.show(history.key_value(op.key)));
            let shown = |name: &str, value: Value| match value {
                Value::UNTOLD => String::new(),
                value => format!(" {name} {}", history.show(value)),
            };
            let _ = write!(out, "{}{}", shown("arg", op.arg), shown("if", op.compare));
            let when = history.condition(op);
            if let Some(exists) = when.exists {
                let _ = write!(out, " exists {exists}");
            }
            if let Some(revision) = when.revision {
                let _ = write!(out, " at {revision}");
            }
            let _ = write!(out, "{}", shown("->", op.reply));
            if let Some(revision) = op.told_revision() {
                let _ = write!(out, " rev {revision}");
            }
        }
        let _ = writeln!(out, " {:?} t={}", op.end, history.time(op.called));
    }
    let _ = writeln!(out, "  at first {}", history.show(history.initial()));
    out
}

/// Small files of every shape, with names.
pub const FILES: &[(&str, &str)] = &[
    (
        "edn, a queue that is drained",
        "{:process 0, :type :invoke, :f :enqueue, :value 1}\n{:process 0, :type :ok, :f :enqueue, :value 1}\n\
         {:process 0, :type :invoke, :f :enqueue, :value 2}\n{:process 1, :type :invoke, :f :drain, :value nil}\n\
         {:process 0, :type :ok, :f :enqueue, :value 2}\n{:process 1, :type :ok, :f :drain, :value [1 2]}\n\
         {:process 0, :type :invoke, :f :enqueue, :value 3}\n{:process 2, :type :invoke, :f :drain}\n\
         {:process 2, :type :info, :f :drain}\n{:process 3, :type :invoke, :f :dequeue}",
    ),
    (
        "edn, a bank",
        "{:process 0, :type :invoke, :f :transfer, :value {:from 0, :to 1, :amount 3}}\n\
         {:process 0, :type :ok, :f :transfer, :value {:from 0, :to 1, :amount 3}}\n\
         {:process 1, :type :invoke, :f :read}\n{:process 1, :type :ok, :f :read, :value {0 2, 1 13}}\n\
         {:process 1, :type :invoke, :f :read}\n{:process 1, :type :ok, :f :read, :value [2 nil]}",
    ),
    (
        "edn, reads and writes of steps",
        "{:process 0, :type :invoke, :f :write, :value [[:w 0 1]]}\n{:process 0, :type :ok, :f :write, :value [[:w 0 1]]}\n\
         {:process 1, :type :invoke, :f :read, :value [[:r 0 nil] [:r 1 nil]]}\n\
         {:process 1, :type :ok, :f :read, :value [[:r 0 1] [:r 1 nil]]}",
    ),
    (
        "json, a set",
        "{\"process\":0,\"type\":\"invoke\",\"f\":\"add\",\"value\":1}\n{\"process\":1,\"type\":\"invoke\",\"f\":\"read\"}\n\
         {\"process\":0,\"type\":\"ok\",\"f\":\"add\",\"value\":1}\n{\"process\":1,\"type\":\"ok\",\"f\":\"read\",\"value\":[1,1]}",
    ),
    (
        "jsonl: long names, no positions, no keys",
        r#"{"process":0,"type":"invoke","f":"write","value":1}
{"process":1,"type":"invoke","f":"read"}
{"process":0,"type":"ok"}
{"process":1,"type":"ok","value":1}
{"process":1,"type":"invoke","f":"cas","value":[1,2],"error":"none","node":"n1"}
{"process":0,"type":"invoke","f":"cas","value":[1,3],"time":7}
{"process":1,"type":"refused","f":"cas","value":3}
{"process":0,"type":"info","value":"timeout"}
{"process":0,"type":"invoke","f":"read"}"#,
    ),
    (
        "jsonl: our own short names",
        r#"{"i":0,"t":5,"p":3,"type":"invoke","f":"put","k":"a","v":"x\u00e9\n","if":{"exists":false,"rev":-1}}
{"i":1,"t":6,"p":3,"type":"ok","f":"put","k":"a","rev":0}

{"i":2,"t":7,"p":3,"type":"invoke","f":"delete","k":"a","if":{"value":"y"}}
{"i":3,"t":8,"p":3,"type":"refused","f":"delete","k":"a","v":"x","rev":0}
{"i":4,"t":9,"p":3,"type":"invoke","f":"get","k":"b"}
{"i":5,"t":9,"p":3,"type":"ok","f":"get","k":"b","v":null}"#,
    ),
    (
        "jsonl: every function",
        r#"{"initial":0}
{"p":0,"type":"invoke","f":"inc"}
{"p":0,"type":"ok"}
{"p":0,"type":"invoke","f":"decrement","v":2}
{"p":0,"type":"ok"}
{"p":0,"type":"invoke","f":"remove","v":"a"}
{"p":0,"type":"ok"}
{"p":0,"type":"invoke","f":"contains","v":1.50}
{"p":0,"type":"ok","v":true}
{"p":0,"type":"invoke","f":"push","v":{"b":[1],"a":null}}
{"p":0,"type":"ok"}
{"p":0,"type":"invoke","f":"pop"}
{"p":0,"type":"ok","v":{"a":null,"b":[1]}}
{"p":0,"type":"invoke","f":"dequeue"}
{"p":0,"type":"ok","v":null}
{"p":0,"type":"invoke","f":"lock"}
{"p":0,"type":"ok","v":17}
{"p":0,"type":"invoke","f":"unlock"}
{"p":0,"type":"ok"}
{"p":0,"type":"invoke","f":"generate"}
{"p":0,"type":"ok","v":12345678901234567890}
{"p":0,"type":"invoke","f":"append","k":["a",1],"v":{"symbol":":x"}}
{"p":0,"type":"ok"}
{"p":0,"type":"invoke","f":"rotate","v":[true,false]}
{"p":0,"type":"fail"}
{"p":0,"type":"invoke","f":"txn","v":[["append","x",1],["r","x",null],["w","y",2],["r","y"]]}
{"p":0,"type":"ok","v":[["append","x",1],["r","x",[1,2]],["w","y",2],["r","y",null]]}"#,
    ),
    (
        "json: one array, as others write it",
        r#"[{"type":"invoke","f":"acquire","process":1,"time":-3,"index":7},
 {"type":"info","f":"start","process":"nemesis","time":5,"index":8},
 {"type":"info","f":"start","process":"nemesis","time":6,"index":9},
 {"type":"fail","f":"acquire","process":1,"error":{"is":["held"]},"index":11},
 {
   "process": 2, "type": "invoke", "index": 12,
   "value": [["append", 1, 2], ["r", 1]]
 }]
"#,
    ),
    (
        "edn: a vector, a map over two lines, comments",
        "; a file\n[{:type :invoke, :process 1, :f :read, :value nil} ; here\n {:type :invoke :process 101\n  :f :write :value 3}
 #_{:type :what} {:type :fail, :process 101, :f :write, :value 3, :error [:temporarily-unavailable nil]}
 {:type :ok, :process 1, :f :read, :value 3}]",
    ),
    (
        "edn: a list; nil is not known; a process after info",
        "({:process 7, :type :invoke, :f :cas, :value [2 3]}
{:process :nemesis, :type :info, :f :start, :value \"cut off #{n1}\"}
{:process 7, :type :fail, :f :cas, :value [2 3]}
{:process 8, :type :invoke, :f :read}
{:process 8, :type :ok, :f :read, :value nil}
{:process 7, :type :invoke, :f :write, :value 1}
{:process 7, :type :info, :f :write, :value 1, :error \"no [answer\"}
{:process 7, :type :invoke, :f :read, :value 1})",
    ),
    (
        "edn: independent keys",
        "{:process 0, :type :invoke, :f :read, :value [x nil], :index 0, :time 10}
{:process 1, :type :invoke, :f :cas, :value [:y [1 2]], :index 1, :time 11}
{:process 0, :type :ok, :f :read, :value [x 1], :index 4, :time 12}
{:process 1, :type :info, :f :cas, :value :timeout, :index 5, :time 13, :debug {:a [1 {}]}}
{:process 1, :type :invoke, :f :write, :value [:y 7], :index 6, :time 14}
{:process 1, :type :ok, :f :write, :value nil, :index 7, :time 15}",
    ),
    (
        "edn: records, tags and strange values",
        "#jepsen.history.Op{:index 0, :time 1, :type :invoke, :process 0, :f :add, :value #{3 1 2 1}}
#jepsen.history.Op {:type :ok :process 0 :f :add :value #{2 1 3}}
{:type :invoke :process 0 :f :add :value {:b 1.50, :a \"q\\\"\\u00e9\\101\"}}
{:type :ok :process 0 :f :add :value {:a \"q\\\"\u{e9}A\" :b 1.5}}
{:type :invoke :process 0 :f :add :value #my/set #{{:a [1] 2 #{4 3}} #{1 0}}}
{:type :ok :process 0 :f :add :value #my/set #{#{0 1} {2 #{3 4} :a [1]}}}
{:type :invoke :process 0 :f :add :value #inst \"2020-01-01\"}
{:type :ok :process 0 :f :add :value #inst \"2020-01-01\" :error #object[java.lang.X 0x1f \"a b\"]}
{:type :invoke :process 0 :f :add :value [1N 22/7 -5 +6 \\a \\newline \\( nil true #_x (1 ()) 1.0M 12345678901234567890]}
{:type :info :process 0 :f :add :error #<ConnectException java.net: refused [}>}",
    ),
    (
        "edn: transactions as Elle has them, without processes",
        "{:index 0 :type :invoke  :value [[:append 253 1] [:append 253 3]]}
{:index 1 :type :ok      :value [[:append 253 1] [:append 253 3]]}
{:index 2 :type :invoke, :value [[:append 255 8] [:r 253 nil] [:r 9 nil] [:r 8]]}
{:index 3 :type :ok,     :value [[:append 255 8] [:r 253 [1 3 4]] [:r 9 nil] [:r 8]]}",
    ),
    (
        "edn: transactions on registers",
        "{ :process 1, :index 1, :type :invoke, :f :txn :value [[:r x]] }
{ :process 1, :index 2, :type :ok,     :f :txn :value [[:r x nil]] }
{:type :invoke, :f :txn, :value [[:read :x nil] [:write :y 2]], :process 3}
{:type :ok, :f :txn, :value [[:read :x 7] [:write :y 2]], :process 3}
{:type :invoke, :f nil, :value [[:w 1 2]], :process 3}
{:type :fail, :f nil, :value [[:w 1 2]], :process 3}",
    ),
    (
        "edn: a key-value log",
        "{:process 0, :type :invoke, :f :append, :key \"0\", :value \"x 0 0 y\"}
{:process 0, :type :ok, :f :append, :key \"0\", :value \"x 0 0 y\"}
{:process 0, :type :invoke, :f :get, :key \"7\", :value nil}
{:process 0, :type :ok, :f :get, :key \"7\", :value \"\"}",
    ),
    (
        "log",
        "jepsen etcd test\nINFO  jepsen.util - 0\t:invoke\t:read\tnil
INFO  jepsen.util - 3      :invoke :write  4
INFO  jepsen.core - Worker 1 starting
INFO  jepsen.util - 0\t:ok\t:read\tnil \t:hint 3
INFO  jepsen.util - 3\t:info\t:write\t:timed-out
INFO  jepsen.util - :nemesis\t:info\t:start\t\"Cut off {:n5 #{:n1}}\"
INFO  jepsen.util - 0\t:invoke\t:cas\t[1 2]
INFO  jepsen.util - 0\t:fail\t:cas\t[1 2]
INFO  jepsen.util - 0\t:invoke\t:read\tnil
INFO  jepsen.util - 0\t:fail\t:read\t:timed-out
INFO  jepsen.util - 0\t:invoke\t:read\tnil
INFO  jepsen.util - 0\t:ok\t:read\t4",
    ),
    ("log: without prefix, independent keys", "0\t:invoke\t:write\t[9 4]\n1\t:invoke\t:cas\t[9 [4 5]]\n0\t:ok\t:write\t[9 4]\n"),
    ("plain", "# p k f key a b\n3 i w 0 1 0\n2 i r 0 0 0\n2 o r 0 0 0\n2 i c 0 0 2\n3 ? w 0 1 0\n2 f c 0 0 2\n4 i c 1 5 -6"),
    (
        "jsonl: with the line ends of others",
        "{\"p\":0,\"type\":\"invoke\",\"f\":\"get\"}\r\n\r\n{\"p\":0,\"type\":\"ok\",\"v\":[1,\"x\"]}\r\n",
    ),
    ("nothing", ""),
    ("an empty vector", "[]"),
];
