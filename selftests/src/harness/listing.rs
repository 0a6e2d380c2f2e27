//! What the suite tells about its cases before any of them runs.

use loopfs_protocol::CaseInfo;

use crate::case::{Case, Need};

/// What [`CaseInfo`] says of `case`.
pub fn describe(case: &Case) -> CaseInfo {
    CaseInfo {
        name: case.name.to_owned(),
        spec: case.spec.iter().map(ToString::to_string).collect(),
        who: case.who.iter().map(ToString::to_string).collect(),
        needs: case.needs.iter().map(|need| name(*need)).collect(),
        kconfig: symbols(case, false),
        kconfig_debug: symbols(case, true),
        patience: case.patience,
    }
}

fn name(need: Need) -> String {
    match serde_json::to_value(need) {
        Ok(serde_json::Value::String(name)) => name,
        other => unreachable!("a need is written as its name, not as {other:?}"),
    }
}

fn symbols(case: &Case, debug_only: bool) -> Vec<String> {
    let needs = case.needs.iter().filter(|need| need.debug_only() == debug_only);
    let mut symbols: Vec<String> = needs.flat_map(|need| need.kconfig()).map(ToString::to_string).collect();
    symbols.sort_unstable();
    symbols.dedup();
    symbols
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Who;

    fn sample() -> Case {
        Case::new("sample", &["M1"], |_| Ok(())).only(&[Who::Root]).needing(&[Need::Loop, Need::Swap, Need::Kmemleak])
    }

    #[test]
    fn symbols_of_the_debug_configuration_are_kept_apart() {
        let info = describe(&sample());
        assert_eq!(info.kconfig, ["BLK_DEV_LOOP", "SWAP"]);
        assert_eq!(info.kconfig_debug, ["DEBUG_KMEMLEAK"]);
        assert_eq!(
            (info.who, info.needs),
            (vec!["root".into()], vec!["loop".into(), "swap".into(), "kmemleak".into()])
        );
    }
}
