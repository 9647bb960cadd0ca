//! The values that options take: cores, bytes, durations, `NAME=VALUE`.

use shoal_proto::v1;
use std::collections::HashMap;
use std::time::Duration;

/// Suffixes of a size, the longest first where one ends another.
const SIZES: [(&str, u64); 13] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("K", 1 << 10),
    ("M", 1 << 20),
    ("G", 1 << 30),
    ("T", 1 << 40),
    ("B", 1),
];

/// Inside of a container the ids from here on are not a task's.
const SHOALS_OWN_ID: u32 = 65_535;

/// Cores, as thousandths: `2`, `0.5`, `250m`.
pub fn cpu_milli(text: &str) -> Result<u32, String> {
    let bad = || format!("wanted cores such as 2, 0.5 or 250m, was {text:?}");
    if let Some(milli) = text.strip_suffix('m') {
        return milli.parse().ok().filter(|milli| *milli > 0).ok_or_else(bad);
    }
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) {
        return Err(bad());
    }
    if part.trim_end_matches('0').len() > 3 {
        return Err(format!("wanted at most three digits after the point, was {text:?}"));
    }
    let part: u32 = format!("{part:0<3}")[..3].parse().map_err(|_| bad())?;
    let whole: u32 = whole.parse().map_err(|_| bad())?;
    let milli = whole.checked_mul(1000).and_then(|milli| milli.checked_add(part));
    milli.filter(|milli| *milli > 0).ok_or_else(bad)
}

/// Bytes: `512MiB`, `1.5G`, `100MB`, `1048576`. K, M, G and T are powers of 1024.
pub fn bytes(text: &str) -> Result<u64, String> {
    let bad = || format!("wanted a size such as 512MiB, 2G or 100MB, was {text:?}");
    let (number, unit) = match SIZES.iter().find(|(suffix, _)| text.ends_with(suffix)) {
        Some((suffix, unit)) => (text[..text.len() - suffix.len()].trim_end(), *unit),
        None => (text, 1),
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(part) || part.len() > 6 {
        return Err(bad());
    }
    let scale = 10_u128.pow(u32::try_from(part.len()).map_err(|_| bad())?);
    let digits: u128 = format!("{whole}{part}").parse().map_err(|_| bad())?;
    let bytes = digits.checked_mul(u128::from(unit)).ok_or_else(bad)? / scale;
    u64::try_from(bytes).ok().filter(|bytes| *bytes > 0).ok_or_else(bad)
}

/// A length of time: `90s`, `10m`, `1h 30m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|why| format!("wanted a time such as 90s, 10m or 1h30m, was {text:?} ({why})"))
}

/// A length of time in milliseconds, at least one.
pub fn duration_ms(text: &str) -> Result<u64, String> {
    let ms = u64::try_from(duration(text)?.as_millis())
        .map_err(|_| format!("{text:?} is longer than time itself"))?;
    if ms == 0 { Err(format!("wanted at least 1ms, was {text:?}")) } else { Ok(ms) }
}

/// `NAME=VALUE`, or `NAME` for the value it has here.
pub fn env(text: &str) -> Result<(String, String), String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, value.to_owned()),
        None => {
            let here = std::env::var(text);
            (text, here.map_err(|_| format!("wanted NAME=VALUE; {text:?} has no value here to pass on"))?)
        }
    };
    if name.is_empty() {
        return Err(format!("wanted NAME=VALUE, was {text:?}"));
    }
    Ok((name.to_owned(), value))
}

/// A directory of the nodes: `NAME:TARGET`, `NAME:TARGET:ro`.
pub fn mount(text: &str) -> Result<v1::Mount, String> {
    let bad = || format!("wanted NAME:TARGET or NAME:TARGET:ro, such as datasets:/data, was {text:?}");
    let (name, place) = text.split_once(':').ok_or_else(bad)?;
    let (target, read_only) = match place.strip_suffix(":ro") {
        Some(target) => (target, true),
        None => (place, false),
    };
    if name.is_empty() || !target.starts_with('/') {
        return Err(bad());
    }
    Ok(v1::Mount { name: name.to_owned(), target: target.to_owned(), read_only })
}

/// The same as the option takes it.
pub fn mount_text(mount: &v1::Mount) -> String {
    format!("{}:{}{}", mount.name, mount.target, if mount.read_only { ":ro" } else { "" })
}

/// Some of the nodes of a task: `2`, `2:type=smithi,ssd`.
pub fn nodes(text: &str) -> Result<v1::GangPart, String> {
    let bad = || format!("wanted N or N:LABEL,LABEL such as 3 or 2:type=smithi, was {text:?}");
    let (number, labels) = match text.split_once(':') {
        Some((number, labels)) => (number, labels.split(',').map(str::to_owned).collect()),
        None => (text, Vec::new()),
    };
    let nodes = number.parse().ok().filter(|nodes| *nodes > 0).ok_or_else(bad)?;
    if labels.iter().any(String::is_empty) {
        return Err(bad());
    }
    Ok(v1::GangPart { nodes, labels })
}

/// The same as the option takes it.
pub fn nodes_text(part: &v1::GangPart) -> String {
    let labels = part.labels.join(",");
    if labels.is_empty() { part.nodes.to_string() } else { format!("{}:{labels}", part.nodes) }
}

/// So many of a thing that is counted: `gpu=2`.
pub fn count(text: &str) -> Result<(String, u32), String> {
    let bad = || format!("wanted NAME=COUNT such as gpu=2, was {text:?}");
    let (name, count) = text.split_once('=').ok_or_else(bad)?;
    let count = count.parse().ok().filter(|count| *count > 0).ok_or_else(bad)?;
    if name.is_empty() { Err(bad()) } else { Ok((name.to_owned(), count)) }
}

/// Counts for people, by name: `gpu=2 tape=1`.
pub fn counts_text(counts: &HashMap<String, u32>) -> String {
    let mut texts: Vec<String> = counts.iter().map(|(name, count)| format!("{name}={count}")).collect();
    texts.sort_unstable();
    texts.join(" ")
}

/// A user by numbers: `UID`, `UID:GID`; the group has the user's number when it is not given.
pub fn run_as(text: &str) -> Result<v1::RunAs, String> {
    let (uid, gid) = text.split_once(':').unwrap_or((text, text));
    let id = |text: &str| {
        let number = text.parse().ok().filter(|number| *number < SHOALS_OWN_ID);
        number.ok_or_else(|| format!("wanted UID or UID:GID, each 0 to 65534, was {text:?}"))
    };
    Ok(v1::RunAs { uid: id(uid)?, gid: id(gid)? })
}

/// A priority: the name of a class, or a number.
pub fn priority(text: &str) -> Result<u32, String> {
    shoal_proto::convert::priority::parse(text)
}

/// Cores for people: `0.5`, `2`.
pub fn cpus_text(milli: u32) -> String {
    let text = format!("{}.{:03}", milli / 1000, milli % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Bytes for people: `512MiB`, `1.5GiB`.
pub fn bytes_text(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    for (unit, shift) in units {
        if bytes >> shift > 0 {
            let tenths = (u128::from(bytes) * 10) >> shift;
            let (whole, tenth) = (tenths / 10, tenths % 10);
            return if tenth == 0 { format!("{whole}{unit}") } else { format!("{whole}.{tenth}{unit}") };
        }
    }
    format!("{bytes}B")
}

/// A length of time for people, in its two largest units: `250ms`, `41s`, `3m20s`, `2h5m`, `3d4h`.
pub fn age_text(ms: u64) -> String {
    let (s, m, h) = (ms / 1000, ms / 60_000, ms / 3_600_000);
    match ms {
        0..1000 => format!("{ms}ms"),
        1000..60_000 => format!("{s}s"),
        60_000..3_600_000 => format!("{m}m{}s", s % 60),
        3_600_000..86_400_000 => format!("{h}h{}m", m % 60),
        _ => format!("{}d{}h", h / 24, h % 24),
    }
}

/// A time in one unit, rounded: the largest of which there are two: `41 s`, `12 m`, `3 h`.
pub fn about_text(ms: u64) -> String {
    let in_units_of = |unit_ms: u64| ms.saturating_add(unit_ms / 2) / unit_ms;
    match ms {
        0..119_500 => format!("{} s", in_units_of(1_000)),
        119_500..7_170_000 => format!("{} m", in_units_of(60_000)),
        _ => format!("{} h", in_units_of(3_600_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_a_number_and_perhaps_labels() {
        let part = |nodes, labels: &[&str]| v1::GangPart {
            nodes,
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        };
        assert_eq!(nodes("3"), Ok(part(3, &[])));
        assert_eq!(nodes("2:type=smithi,ssd"), Ok(part(2, &["type=smithi", "ssd"])));
        for good in ["3", "2:type=smithi,ssd"] {
            assert_eq!(nodes_text(&nodes(good).unwrap()), good);
        }
        for bad in ["", "0", "x", "-1", "2:", "2:a,", ":a", "4294967296"] {
            assert!(nodes(bad).unwrap_err().starts_with("wanted N or N:LABEL"), "{bad}");
        }
    }

    #[test]
    fn counts_have_a_name_and_are_not_nothing() {
        assert_eq!(count("gpu=2"), Ok(("gpu".to_owned(), 2)));
        for bad in ["gpu", "=2", "gpu=", "gpu=0", "gpu=x", "gpu=-1"] {
            assert!(count(bad).unwrap_err().starts_with("wanted NAME=COUNT"), "{bad}");
        }
        let counts = HashMap::from([("tape".to_owned(), 1), ("gpu".to_owned(), 2)]);
        assert_eq!(counts_text(&counts), "gpu=2 tape=1");
    }

    #[test]
    fn cores_are_read_to_the_thousandth() {
        for (text, milli) in
            [("2", 2000), ("0.5", 500), ("1.25", 1250), ("250m", 250), ("0.001", 1), ("1.5000", 1500)]
        {
            assert_eq!(cpu_milli(text), Ok(milli), "{text}");
        }
        for text in ["", "0", "-1", "1.2345", "x", "0m", "1e3", ".5", "5000000"] {
            assert!(cpu_milli(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_read_in_both_kinds_of_units() {
        for (text, wanted) in [
            ("512MiB", 512 << 20),
            ("2G", 2 << 30),
            ("1.5GiB", 3 << 29),
            ("100MB", 100_000_000),
            ("7", 7),
            ("7B", 7),
            ("4 KiB", 4096),
        ] {
            assert_eq!(bytes(text), Ok(wanted), "{text}");
        }
        for text in ["", "0", "MiB", "-1", "1.2.3M", "99999999T", "1X"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_need_a_unit_and_a_length() {
        assert_eq!(duration_ms("10m"), Ok(600_000));
        assert_eq!(duration_ms("1h30m"), Ok(5_400_000));
        assert!(duration_ms("10").is_err());
        assert!(duration_ms("0s").is_err());
    }

    #[test]
    fn an_environment_entry_needs_a_name_and_a_value() {
        assert_eq!(env("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert_eq!(env("A="), Ok(("A".into(), String::new())));
        assert!(env("=x").is_err());
        assert!(env("NO_SUCH_VARIABLE_HERE").is_err());
    }

    #[test]
    fn a_mount_has_a_name_and_an_absolute_place() {
        let mount_of = |name: &str, target: &str, read_only| v1::Mount {
            name: name.into(),
            target: target.into(),
            read_only,
        };
        assert_eq!(mount("data:/mnt/d"), Ok(mount_of("data", "/mnt/d", false)));
        assert_eq!(mount("data:/mnt/d:ro"), Ok(mount_of("data", "/mnt/d", true)));
        for text in ["", "data", "data:", ":/d", "data:d", "data:ro"] {
            assert!(mount(text).is_err(), "{text}");
        }
        for text in ["data:/mnt/d", "data:/mnt/d:ro"] {
            assert_eq!(mount_text(&mount(text).unwrap()), text);
        }
    }

    #[test]
    fn a_user_is_one_or_two_numbers_of_the_containers_own() {
        assert_eq!(run_as("0"), Ok(v1::RunAs { uid: 0, gid: 0 }));
        assert_eq!(run_as("1000:65534"), Ok(v1::RunAs { uid: 1000, gid: 65_534 }));
        for text in ["", "root", "1:", ":1", "65535", "1:65535", "-1", "1:2:3"] {
            assert!(run_as(text).is_err(), "{text}");
        }
    }

    #[test]
    fn values_for_people_are_short() {
        assert_eq!((cpus_text(500).as_str(), cpus_text(2000).as_str()), ("0.5", "2"));
        assert_eq!(
            (bytes_text(3 << 29).as_str(), bytes_text(512 << 20).as_str(), bytes_text(9).as_str()),
            ("1.5GiB", "512MiB", "9B")
        );
        let ages = [250, 41_000, 200_000, 7_500_000, 273_600_000].map(age_text);
        assert_eq!(ages, ["250ms", "41s", "3m20s", "2h5m", "3d4h"]);
    }

    #[test]
    fn what_is_about_so_long_has_one_unit() {
        let about = [1_000, 119_000, 120_000, 700_000, 7_140_000, 7_200_000, 100_000_000].map(about_text);
        assert_eq!(about, ["1 s", "119 s", "2 m", "12 m", "119 m", "2 h", "28 h"]);
    }
}
