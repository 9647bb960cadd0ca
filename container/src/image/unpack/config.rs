//! How an image wants to be run, from its configuration document.

use super::error::UnpackError;
use super::name::Name;
use super::tree::Tree;
use serde::Deserialize;
use shoal_container::image::{CONFIG_BYTES_MAX, Caps, IDS, ImageConfig};
use shoal_container::protocol::User;
use std::io::Read;

/// Bytes of an image's passwd or group file that are looked at.
const ACCOUNTS_BYTES_MAX: u64 = 1 << 20;

/// The document, as far as we need it.
#[derive(Deserialize)]
pub struct Wanted {
    #[serde(default)]
    config: Option<Config>,
    /// The layers, unpacked.
    #[serde(default)]
    pub rootfs: RootFs,
}

/// The layers, unpacked.
#[derive(Default, Deserialize)]
pub struct RootFs {
    /// Their digests.
    #[serde(default)]
    pub diff_ids: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Config {
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    user: Option<String>,
    working_dir: Option<String>,
}

/// Reads it; the user is looked up in the unpacked tree.
pub fn resolve(wanted: Wanted, tree: &Tree) -> Result<ImageConfig, UnpackError> {
    let config = wanted.config.unwrap_or_default();
    let (env, user) = (config.env.unwrap_or_default(), config.user.unwrap_or_default());
    let (entrypoint, cmd) = (config.entrypoint.unwrap_or_default(), config.cmd.unwrap_or_default());
    let workdir = config.working_dir.unwrap_or_default();
    let texts = || env.iter().chain(&entrypoint).chain(&cmd).chain([&user, &workdir]);
    let bytes: usize = texts().map(String::len).sum();
    super::meter::within("bytes of the configuration", CONFIG_BYTES_MAX as u64, bytes as u64)?;
    if texts().any(|text| text.contains('\0')) {
        return Err(UnpackError::Nonsense("its configuration contains a zero byte".to_owned()));
    }
    if !(workdir.is_empty() || workdir.starts_with('/')) {
        return Err(UnpackError::Nonsense(format!(
            "its working directory must be absolute, was {}",
            super::error::shown(workdir.as_bytes())
        )));
    }
    let pairs = env.into_iter().filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        (!name.is_empty()).then(|| (name.to_owned(), value.to_owned()))
    });
    let ids = if user.is_empty() { None } else { Some(look_up(&user, tree)?) };
    Ok(ImageConfig { env: pairs.collect(), entrypoint, cmd, user, ids, workdir })
}

/// `USER`, `USER:GROUP`, each a name or a number.
fn look_up(text: &str, tree: &Tree) -> Result<User, UnpackError> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let unknown = |what: &str, name: &str| {
        let name = super::error::shown(name.as_bytes());
        UnpackError::Nonsense(format!("its {what} {name} is neither below {IDS} nor known to its files"))
    };
    let passwd = accounts(tree, b"etc/passwd");
    let account = |name: &str| {
        passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| {
            fields.len() >= 4 && (fields[0] == name || (fields[2] == name && number(name).is_some()))
        })
    };
    let known = account(user);
    let field = |fields: &Option<Vec<&str>>, at: usize| fields.as_ref().and_then(|f| number(f.get(at)?));
    let uid = number(user).or(field(&known, 2)).ok_or_else(|| unknown("user", user))?;
    let gid = match group {
        None => field(&known, 3).unwrap_or(0),
        Some(group) => {
            let groups = accounts(tree, b"etc/group");
            let line = groups.lines().map(|line| line.split(':').collect::<Vec<_>>());
            let found = line.into_iter().find(|fields| fields.len() >= 3 && fields[0] == group);
            number(group).or(field(&found, 2)).ok_or_else(|| unknown("group", group))?
        }
    };
    Ok(User { uid, gid })
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id < IDS)
}

/// The first part of a file of accounts; empty where there is none.
fn accounts(tree: &Tree, name: &[u8]) -> String {
    let mut bytes = Vec::new();
    if let Some(file) = Name::parse(name, &Caps::default()).ok().and_then(|name| tree.read(&name)) {
        // A file that cannot be read knows nobody.
        let _ = file.take(ACCOUNTS_BYTES_MAX).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
