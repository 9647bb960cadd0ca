//! Wait: until tasks have ended.

use crate::client::Client;
use crate::error::Error;
use crate::exit::is_terminal;
use futures::TryStreamExt;
use shoal_proto::v1;
use std::collections::HashMap;

impl Client {
    /// Waits until all tasks have ended and returns them in the order of `ids`, which are full ones. `seen` is told of every change.
    pub async fn wait(
        &self,
        ids: &[String],
        mut seen: impl FnMut(&v1::Task),
    ) -> Result<Vec<v1::Task>, Error> {
        let mut ended: HashMap<String, v1::Task> = HashMap::new();
        let mut changes = self.watch(ids);
        while let Some(task) = changes.try_next().await? {
            seen(&task);
            if is_terminal(task.state()) {
                ended.insert(task.id.clone(), task);
            }
        }
        let tasks = ids.iter().filter_map(|id| ended.get(id).cloned());
        Ok(tasks.collect())
    }
}
