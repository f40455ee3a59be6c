//! Generated histories are as announced: possible, or with one impossible reply. The same parameters give the same
//! history.

use seaworthy_check::generate::{Shape, Workload, history};
use seaworthy_check::txn::{self, Isolation};
use seaworthy_check::{Kind, Options, check_as};

const SHAPE: Shape = Shape { operations: 400, clients: 4, keys: 2, values: 0, info: 0, plant: false };

/// Returns the model of the objects of a workload.
fn kind(workload: Workload) -> Option<Kind> {
    Some(match workload {
        Workload::Register => Kind::Register,
        Workload::CasRegister => Kind::CasRegister,
        Workload::Kv => Kind::Kv,
        Workload::Append => Kind::Append,
        Workload::Counter => Kind::Counter,
        Workload::Set => Kind::Set,
        Workload::Queue => Kind::Queue,
        Workload::Lock => Kind::Lock,
        Workload::Sequence => Kind::Sequence,
        Workload::ListAppend | Workload::RwRegister => return None,
    })
}

#[test]
fn objects_are_linearizable_unless_an_error_is_planted() {
    for (name, workload) in Workload::ALL {
        let Some(kind) = kind(workload) else { continue };
        for seed in 1..=5 {
            for (info, values) in [(0, 0), (20, 0), (0, 3)] {
                let shape = Shape { info, values, ..SHAPE };
                let generated = history(workload, &shape, seed);
                assert_eq!(kind.accepts(&generated), Ok(()), "{name}");
                assert_eq!(generated.operations().len(), 400, "{name}");
                let report = check_as(kind, &generated, &Options::default());
                assert!(report.is_valid(), "{name}, seed {seed}, {shape:?}: {report}");
                assert_eq!(generated, history(workload, &shape, seed), "{name}");
            }
            let broken = history(workload, &Shape { plant: true, ..SHAPE }, seed);
            let report = check_as(kind, &broken, &Options::default());
            assert!(report.violations().next().is_some(), "{name}, seed {seed}: {report}");
        }
    }
}

#[test]
fn transactions_are_strictly_serializable_unless_an_error_is_planted() {
    for (name, workload) in Workload::ALL {
        if kind(workload).is_some() {
            continue;
        }
        for seed in 1..=5 {
            for info in [0, 20] {
                let shape = Shape { info, ..SHAPE };
                let generated = history(workload, &shape, seed);
                assert_eq!(generated.operations().len(), 400, "{name}");
                let report = txn::check(&generated, Isolation::StrictSerializable, &txn::Options::default());
                assert!(report.is_valid(), "{name}, seed {seed}, {shape:?}: {report}");
                assert_eq!(generated, history(workload, &shape, seed), "{name}");
            }
            let broken = history(workload, &Shape { plant: true, ..SHAPE }, seed);
            let report = txn::check(&broken, Isolation::StrictSerializable, &txn::Options::default());
            assert!(report.violations().next().is_some(), "{name}, seed {seed}: {report}");
        }
    }
}
