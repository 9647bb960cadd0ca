//! Many tasks from a text: one a line, as a JSON object or as plain shell words. Empty lines and lines that begin with `#` are
//! left out.

use crate::{values, words};
use serde::Deserialize;
use shoal_proto::v1;
use std::collections::HashMap;

/// A line that is no task.
#[derive(Debug, thiserror::Error)]
#[error("{source_name}:{line}: {why}")]
pub struct BadTaskLine {
    /// The file, or `stdin`.
    pub source_name: String,
    /// Counts from 1.
    pub line: usize,
    /// What is wrong.
    pub why: String,
}

/// A task as one JSON object. The names are those of `-o json`; `cpus`, `memory`, `time_limit`, `grace`, `disk`, `io` and `log_max` are read as
/// the options of the same names are, and so is the text of a mount or a user. What is missing comes from the command line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TaskLine {
    command: Command,
    #[serde(default)]
    env: HashMap<String, String>,
    root: Option<String>,
    resources: Option<ResourcesLine>,
    cpus: Option<NumberOrText>,
    memory: Option<NumberOrText>,
    pids_max: Option<u32>,
    name: Option<String>,
    user: Option<String>,
    workdir: Option<String>,
    time_limit_ms: Option<u64>,
    time_limit: Option<String>,
    kill_grace_ms: Option<u64>,
    grace: Option<String>,
    max_attempts: Option<u32>,
    on_node_loss: Option<OnNodeLossLine>,
    net: Option<NetLine>,
    mounts: Option<Vec<MountLine>>,
    run_as: Option<RunAsLine>,
    labels: Option<Vec<String>>,
    open_files_max: Option<u32>,
    disk_bytes_max: Option<u64>,
    disk: Option<NumberOrText>,
    io_bytes_per_s_max: Option<u64>,
    io: Option<NumberOrText>,
    log_bytes_max: Option<u64>,
    log_max: Option<NumberOrText>,
    priority: Option<NumberOrText>,
    parts: Option<Vec<PartLine>>,
    nodes: Option<NodesLine>,
    gang_end: Option<GangEndLine>,
    exclusive: Option<bool>,
    counts: Option<HashMap<String, u32>>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Command {
    Words(Vec<String>),
    Line(String),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(serde_json::Number),
    Text(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResourcesLine {
    cpu_milli: u32,
    memory_bytes: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OnNodeLossLine {
    Requeue,
    Fail,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum NetLine {
    Loopback,
    None,
    Host,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PartLine {
    nodes: u32,
    #[serde(default)]
    labels: Vec<String>,
}

/// As the option takes it, once or several times.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum NodesLine {
    One(NumberOrText),
    Several(Vec<NumberOrText>),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum GangEndLine {
    #[serde(alias = "first-failure")]
    FirstFailure,
    All,
    Lead,
}

/// As `-o json` shows it, or as the option takes it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum MountLine {
    Text(String),
    Fields(MountFields),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MountFields {
    name: String,
    target: String,
    #[serde(default)]
    read_only: bool,
}

/// As `-o json` shows it, or as the option takes it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum RunAsLine {
    Value(NumberOrText),
    Fields { uid: u32, gid: u32 },
}

impl NumberOrText {
    fn text(&self) -> String {
        match self {
            NumberOrText::Number(number) => number.to_string(),
            NumberOrText::Text(text) => text.clone(),
        }
    }
}

/// The tasks of `text`, each over the defaults of `base`.
pub fn parse(source_name: &str, text: &str, base: &v1::TaskSpec) -> Result<Vec<v1::TaskSpec>, BadTaskLine> {
    let mut tasks = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let task = if line.starts_with('{') { from_json(line, base) } else { from_words(line, base) };
        let bad = |why| BadTaskLine { source_name: source_name.to_owned(), line: index + 1, why };
        tasks.push(task.map_err(bad)?);
    }
    Ok(tasks)
}

fn from_words(line: &str, base: &v1::TaskSpec) -> Result<v1::TaskSpec, String> {
    let command = words::split(line).map_err(|why| why.to_string())?;
    Ok(v1::TaskSpec { command, ..base.clone() })
}

fn from_json(line: &str, base: &v1::TaskSpec) -> Result<v1::TaskSpec, String> {
    let given: TaskLine = serde_json::from_str(line).map_err(|why| why.to_string())?;
    let mut task = base.clone();
    task.command = match given.command {
        Command::Words(words) => words,
        Command::Line(line) => words::split(&line).map_err(|why| format!("command: {why}"))?,
    };
    task.env.extend(given.env);
    let mut resources = task.resources.unwrap_or_default();
    if let Some(ResourcesLine { cpu_milli, memory_bytes }) = given.resources {
        resources = v1::Resources { cpu_milli, memory_bytes };
    }
    if let Some(cpus) = given.cpus {
        resources.cpu_milli = values::cpu_milli(&cpus.text()).map_err(|why| format!("cpus: {why}"))?;
    }
    if let Some(memory) = given.memory {
        resources.memory_bytes = values::bytes(&memory.text()).map_err(|why| format!("memory: {why}"))?;
    }
    task.resources = Some(resources);
    set(&mut task.root, given.root);
    set(&mut task.name, given.name);
    set(&mut task.user, given.user);
    set(&mut task.workdir, given.workdir);
    set(&mut task.pids_max, given.pids_max);
    set(&mut task.max_attempts, given.max_attempts);
    set(&mut task.time_limit_ms, given.time_limit_ms);
    set(&mut task.time_limit_ms, time("time_limit", given.time_limit)?);
    set(&mut task.kill_grace_ms, given.kill_grace_ms);
    set(&mut task.kill_grace_ms, time("grace", given.grace)?);
    if let Some(mounts) = given.mounts {
        task.mounts = mounts.into_iter().map(MountLine::wire).collect::<Result<_, _>>()?;
    }
    if let Some(run_as) = given.run_as {
        task.run_as = Some(run_as.wire()?);
    }
    set(&mut task.labels, given.labels);
    set(&mut task.parts, given.parts.map(|parts| parts.into_iter().map(PartLine::wire).collect()));
    set(&mut task.parts, given.nodes.map(NodesLine::wire).transpose()?);
    set(&mut task.gang_end, given.gang_end.map(|end| end.wire().into()));
    set(&mut task.exclusive, given.exclusive);
    set(&mut task.counts, given.counts);
    set(&mut task.net, given.net.map(|net| net.wire().into()));
    set(&mut task.open_files_max, given.open_files_max);
    set(&mut task.disk_bytes_max, given.disk_bytes_max);
    set(&mut task.disk_bytes_max, size("disk", given.disk)?);
    set(&mut task.io_bytes_per_s_max, given.io_bytes_per_s_max);
    set(&mut task.io_bytes_per_s_max, size("io", given.io)?);
    set(&mut task.log_bytes_max, given.log_bytes_max);
    set(&mut task.log_bytes_max, size("log_max", given.log_max)?);
    let priority = given.priority.map(|given| values::priority(&given.text())).transpose();
    set(&mut task.priority, priority.map_err(|why| format!("priority: {why}"))?);
    set(&mut task.on_node_loss, given.on_node_loss.map(|on_node_loss| on_node_loss.wire().into()));
    Ok(task)
}

impl OnNodeLossLine {
    fn wire(&self) -> v1::OnNodeLoss {
        match self {
            OnNodeLossLine::Requeue => v1::OnNodeLoss::Requeue,
            OnNodeLossLine::Fail => v1::OnNodeLoss::Fail,
        }
    }
}

impl NetLine {
    fn wire(&self) -> v1::Net {
        match self {
            NetLine::Loopback => v1::Net::Loopback,
            NetLine::None => v1::Net::None,
            NetLine::Host => v1::Net::Host,
        }
    }
}

impl PartLine {
    fn wire(self) -> v1::GangPart {
        v1::GangPart { nodes: self.nodes, labels: self.labels }
    }
}

impl NodesLine {
    fn wire(self) -> Result<Vec<v1::GangPart>, String> {
        let texts = match self {
            NodesLine::One(text) => vec![text],
            NodesLine::Several(texts) => texts,
        };
        let part = |text: &NumberOrText| values::nodes(&text.text()).map_err(|why| format!("nodes: {why}"));
        texts.iter().map(part).collect()
    }
}

impl GangEndLine {
    fn wire(&self) -> v1::GangEnd {
        match self {
            GangEndLine::FirstFailure => v1::GangEnd::FirstFailure,
            GangEndLine::All => v1::GangEnd::All,
            GangEndLine::Lead => v1::GangEnd::Lead,
        }
    }
}

impl MountLine {
    fn wire(self) -> Result<v1::Mount, String> {
        match self {
            MountLine::Text(text) => values::mount(&text).map_err(|why| format!("mounts: {why}")),
            MountLine::Fields(MountFields { name, target, read_only }) => {
                Ok(v1::Mount { name, target, read_only })
            }
        }
    }
}

impl RunAsLine {
    fn wire(&self) -> Result<v1::RunAs, String> {
        match self {
            RunAsLine::Value(value) => values::run_as(&value.text()).map_err(|why| format!("run_as: {why}")),
            RunAsLine::Fields { uid, gid } => Ok(v1::RunAs { uid: *uid, gid: *gid }),
        }
    }
}

fn size(field: &str, text: Option<NumberOrText>) -> Result<Option<u64>, String> {
    text.map(|text| values::bytes(&text.text()).map_err(|why| format!("{field}: {why}"))).transpose()
}

fn set<T>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}

fn time(field: &str, text: Option<String>) -> Result<Option<u64>, String> {
    text.map(|text| values::duration_ms(&text).map_err(|why| format!("{field}: {why}"))).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> v1::TaskSpec {
        v1::TaskSpec { root: "host".into(), user: "ann".into(), ..v1::TaskSpec::default() }
    }

    #[test]
    fn words_and_objects_mix_and_take_what_they_do_not_say_from_the_command_line() {
        let text = "# all of it\n\necho 'a b'\n{\"command\": \"echo c\", \"cpus\": 0.5, \"memory\": \"64MiB\", \"time_limit\": \"10s\"}\n\
                    {\"command\": [\"true\"], \"root\": \"default\", \"on_node_loss\": \"fail\", \"env\": {\"A\": \"1\"}}\n";
        let tasks = parse("f", text, &base()).unwrap();
        assert_eq!(tasks.len(), 3);
        assert_eq!(tasks[0], v1::TaskSpec { command: vec!["echo".into(), "a b".into()], ..base() });
        let resources = v1::Resources { cpu_milli: 500, memory_bytes: 64 << 20 };
        assert_eq!(
            (tasks[1].resources, tasks[1].time_limit_ms, tasks[1].root.as_str()),
            (Some(resources), 10_000, "host")
        );
        assert_eq!((tasks[2].root.as_str(), tasks[2].on_node_loss()), ("default", v1::OnNodeLoss::Fail));
        assert_eq!(tasks[2].env["A"], "1");
    }

    #[test]
    fn an_object_as_json_output_shows_it_is_a_task() {
        let line = r#"{"command":["a"],"env":{},"root":"default","resources":{"cpu_milli":1000,"memory_bytes":1},"pids_max":5,"name":"n","user":"u","workdir":"/w","time_limit_ms":0,"kill_grace_ms":1,"max_attempts":2,"on_node_loss":"requeue","net":"host","mounts":[{"name":"d","target":"/d","read_only":true}],"run_as":null,"labels":[],"open_files_max":0,"disk_bytes_max":0,"io_bytes_per_s_max":0,"log_bytes_max":7,"priority":250,"parts":[{"nodes":2,"labels":["gpu"]}],"gang_end":"lead","exclusive":true,"counts":{"gpu":2}}"#;
        let task = &parse("f", line, &base()).unwrap()[0];
        assert_eq!((task.pids_max, task.net(), task.log_bytes_max), (5, v1::Net::Host, 7));
        assert_eq!(task.mounts, [v1::Mount { name: "d".into(), target: "/d".into(), read_only: true }]);
        assert_eq!(task.run_as, None);
        assert_eq!(task.parts, [v1::GangPart { nodes: 2, labels: vec!["gpu".into()] }]);
        assert_eq!((task.gang_end(), task.exclusive, task.counts["gpu"]), (v1::GangEnd::Lead, true, 2));
        let shown = serde_json::to_value(crate::output::json::Spec::from(task)).unwrap();
        let again = parse("f", &shown.to_string(), &v1::TaskSpec::default()).unwrap();
        assert_eq!(again, std::slice::from_ref(task));
    }

    #[test]
    fn choices_are_read_as_the_options_are_and_replace_those_of_the_command_line() {
        let line = r#"{"command": "a", "mounts": ["data:/mnt:ro"], "run_as": "0", "disk": "1MiB", "io": "2M", "log_max": 4096, "net": "none", "priority": "high", "labels": ["gpu"]}"#;
        let own = v1::Mount { name: "own".into(), target: "/own".into(), read_only: false };
        let base = v1::TaskSpec { mounts: vec![own], ..base() };
        let task = &parse("f", line, &base).unwrap()[0];
        assert_eq!(task.mounts, [v1::Mount { name: "data".into(), target: "/mnt".into(), read_only: true }]);
        assert_eq!((task.run_as, task.net()), (Some(v1::RunAs { uid: 0, gid: 0 }), v1::Net::None));
        assert_eq!((task.priority, task.labels.as_slice()), (750, &["gpu".to_owned()][..]));
        let limits = (task.disk_bytes_max, task.io_bytes_per_s_max, task.log_bytes_max);
        assert_eq!(limits, (1 << 20, 2 << 20, 4096));
        let parts = |line: &str| parse("f", line, &base).unwrap()[0].parts.clone();
        let part = |nodes, labels: &[&str]| v1::GangPart {
            nodes,
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        };
        assert_eq!(parts(r#"{"command": "a", "nodes": 3}"#), [part(3, &[])]);
        assert_eq!(parts(r#"{"command": "a", "nodes": ["2:x=y", 1]}"#), [part(2, &["x=y"]), part(1, &[])]);
        let said = |line: &str| parse("f", line, &base).unwrap_err().to_string();
        assert!(said(r#"{"command": "a", "nodes": 0}"#).contains("nodes: wanted N or N:LABEL"));
        assert!(said(r#"{"command": "a", "run_as": "root"}"#).contains("run_as: wanted UID or UID:GID"));
        assert!(said(r#"{"command": "a", "mounts": ["data"]}"#).contains("mounts: wanted NAME:TARGET"));
        assert!(said(r#"{"command": "a", "priority": 1001}"#).contains("priority: must be low"));
        assert!(said(r#"{"command": "a", "net": "bridge"}"#).contains("unknown variant `bridge`"));
    }

    #[test]
    fn a_bad_line_is_named_with_its_number_and_its_fault() {
        let said = |text: &str| parse("tasks", text, &base()).unwrap_err().to_string();
        assert_eq!(said("true\necho 'x"), "tasks:2: quote ' is not closed");
        assert!(said("{\"command\": \"a\", \"cpu\": 1}").contains("tasks:1: unknown field `cpu`"));
        assert!(said("{}").contains("missing field `command`"));
        assert!(said("{\"command\": \"a\", \"memory\": \"x\"}").contains("memory: wanted a size"));
    }
}
