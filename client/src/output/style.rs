//! Colours. A failure of the task and a failure of the infrastructure have different ones.

use crate::exit;
use clap::builder::styling::{AnsiColor, Style};
use shoal_proto::v1::{State, Task};

/// Headings.
pub const BOLD: Style = Style::new().bold();
/// What matters less.
pub const DIM: Style = Style::new().dimmed();
/// Something is wrong.
pub const RED: Style = AnsiColor::Red.on_default().bold();
/// Something to know.
pub const YELLOW: Style = AnsiColor::Yellow.on_default();
/// All is well.
pub const GREEN: Style = AnsiColor::Green.on_default();
const CYAN: Style = AnsiColor::Cyan.on_default();
const MAGENTA: Style = AnsiColor::Magenta.on_default().bold();

/// The style of a task's state.
pub fn of_task(task: &Task) -> Style {
    match task.state() {
        State::Unspecified | State::Canceled => DIM,
        State::Queued => YELLOW,
        State::Running => CYAN,
        State::Complete if exit::succeeded(task) => GREEN,
        State::Complete => RED,
        State::Failed => MAGENTA,
    }
}

/// `text` in `style`.
pub fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}
