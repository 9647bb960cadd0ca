//! The commands, one a file: options, then what it does.

pub mod cancel;
pub mod completion;
pub mod dev;
pub mod each;
pub mod edit;
pub mod events;
pub mod hold;
pub mod image;
pub mod list;
pub mod lock;
pub mod lock_any;
pub mod log;
pub mod move_task;
pub mod node;
pub mod reserve;
pub mod run;
pub mod show;
pub mod sim;
pub mod status;
pub mod submit;
pub mod task_options;
pub mod version;
pub mod wait;
pub mod why;
