//! The members of a new cluster, as etcd's own `--initial-cluster` spells them: `name=peer-url,name=peer-url,…`.

use super::url::{MemberUrl, UrlError};
use std::fmt;
use std::str::FromStr;

/// The members that found a cluster together. Every one of them is started with the same list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialCluster {
    members: Vec<(String, MemberUrl)>,
}

/// What is wrong with an initial cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BootstrapError {
    /// Nothing in it.
    #[error(
        "initial-cluster is empty; it is `name=peer-url,…`, as in a=http://10.0.0.1:2380,b=http://10.0.0.2:2380"
    )]
    Empty,
    /// A part is not of the form `name=url`.
    #[error("initial-cluster: `{0}` is not of the form name=peer-url")]
    NotAPair(String),
    /// A name that cannot be one.
    #[error("initial-cluster: `{0}` is not a name (letters, digits, `.`, `_` and `-`, at most 63)")]
    Name(String),
    /// A name twice.
    #[error("initial-cluster: the name `{0}` stands in it twice")]
    NameTwice(String),
    /// A peer URL twice.
    #[error("initial-cluster: the peer url {0} stands in it twice")]
    UrlTwice(MemberUrl),
    /// A peer URL that is none.
    #[error("initial-cluster: the peer url of `{name}`")]
    Url {
        /// Whose.
        name: String,
        /// What is wrong with it.
        source: UrlError,
    },
    /// The member that starts is not in it.
    #[error("initial-cluster: this node's own name `{name}` is not in it; it has {members}")]
    NotAMember {
        /// Its name.
        name: String,
        /// The names there are.
        members: String,
    },
    /// The member that starts has another peer URL.
    #[error("initial-cluster says {listed} for `{name}`, but this node's peer url is {own}")]
    OtherUrl {
        /// Its name.
        name: String,
        /// What the list says.
        listed: MemberUrl,
        /// What the node was told.
        own: MemberUrl,
    },
}

impl InitialCluster {
    /// A cluster of one.
    pub fn single(name: &str, peer_url: MemberUrl) -> InitialCluster {
        InitialCluster { members: vec![(name.to_owned(), peer_url)] }
    }

    /// The members of a cluster that exists.
    pub(super) fn from_members(members: Vec<(String, MemberUrl)>) -> InitialCluster {
        InitialCluster { members }
    }

    /// The members in the order given.
    pub fn members(&self) -> &[(String, MemberUrl)] {
        &self.members
    }

    /// Checks that the member that starts is in it under its own peer URL.
    pub fn check_own(&self, name: &str, own: &MemberUrl) -> Result<(), BootstrapError> {
        match self.members.iter().find(|(member, _)| member == name) {
            Some((_, listed)) if listed == own => Ok(()),
            Some((_, listed)) => Err(BootstrapError::OtherUrl {
                name: name.to_owned(),
                listed: listed.clone(),
                own: own.clone(),
            }),
            None => {
                let names: Vec<_> = self.members.iter().map(|(member, _)| member.as_str()).collect();
                Err(BootstrapError::NotAMember { name: name.to_owned(), members: names.join(", ") })
            }
        }
    }
}

impl FromStr for InitialCluster {
    type Err = BootstrapError;

    fn from_str(text: &str) -> Result<InitialCluster, BootstrapError> {
        let mut members: Vec<(String, MemberUrl)> = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, url) =
                part.split_once('=').ok_or_else(|| BootstrapError::NotAPair(part.to_owned()))?;
            if !is_member_name(name) {
                return Err(BootstrapError::Name(name.to_owned()));
            }
            let url: MemberUrl =
                url.parse().map_err(|source| BootstrapError::Url { name: name.to_owned(), source })?;
            if members.iter().any(|(member, _)| member == name) {
                return Err(BootstrapError::NameTwice(name.to_owned()));
            }
            if members.iter().any(|(_, other)| *other == url) {
                return Err(BootstrapError::UrlTwice(url));
            }
            members.push((name.to_owned(), url));
        }
        if members.is_empty() { Err(BootstrapError::Empty) } else { Ok(InitialCluster { members }) }
    }
}

impl fmt::Display for InitialCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, url)) in self.members.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{name}={url}")?;
        }
        Ok(())
    }
}

/// Whether a member may be called so: what etcd's flags can carry without quoting.
pub fn is_member_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=63).contains(&name.len()) && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> MemberUrl {
        text.parse().unwrap()
    }

    #[test]
    fn a_list_prints_as_it_was_parsed() {
        let text = "a=http://127.0.0.1:1,b=http://127.0.0.1:2";
        let cluster: InitialCluster = text.parse().unwrap();
        assert_eq!(cluster.to_string(), text);
        assert_eq!(cluster.members().len(), 2);
    }

    #[test]
    fn each_mistake_names_the_field_and_the_value() {
        for (text, part) in [
            ("", "is empty"),
            (" , ", "is empty"),
            ("http://127.0.0.1:1", "not of the form name=peer-url"),
            ("a b=http://127.0.0.1:1", "`a b` is not a name"),
            ("a=http://127.0.0.1:1,a=http://127.0.0.1:2", "`a` stands in it twice"),
            ("a=http://127.0.0.1:1,b=http://127.0.0.1:1", "http://127.0.0.1:1 stands in it twice"),
            ("a=127.0.0.1:1", "the peer url of `a`"),
        ] {
            let error = text.parse::<InitialCluster>().unwrap_err().to_string();
            assert!(error.contains("initial-cluster") && error.contains(part), "{text:?}: {error}");
        }
    }

    #[test]
    fn the_member_itself_must_be_in_it_under_its_own_url() {
        let cluster: InitialCluster = "a=http://127.0.0.1:1,b=http://127.0.0.1:2".parse().unwrap();
        assert_eq!(cluster.check_own("b", &url("http://127.0.0.1:2")), Ok(()));
        let absent = cluster.check_own("c", &url("http://127.0.0.1:2")).unwrap_err().to_string();
        assert!(absent.contains("`c` is not in it; it has a, b"), "{absent}");
        let other = cluster.check_own("a", &url("http://127.0.0.1:2")).unwrap_err().to_string();
        assert!(other.contains("says http://127.0.0.1:1 for `a`"), "{other}");
    }
}
