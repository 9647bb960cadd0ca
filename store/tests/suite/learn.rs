//! What was learned of durations, as nodes write it.

use super::Bench;
use shoal_core::clock::Tick;
use shoal_core::duration::{DurationEntry, Runs};
use shoal_store::key::{self, Key};
use shoal_store::learn::{Learned, Removal, Update, learn, read};
use shoal_store::port::ListOptions;
use shoal_store::record::{self, Stored};

/// A name with everything that a key cannot hold as it is.
const NAME: &str = "rados/thrash {ec=2} 100% \u{fc}";

fn runs(seconds: &[u32]) -> Runs {
    let mut runs = Runs::default();
    seconds.iter().for_each(|s| runs.add(*s, Tick(9)));
    runs
}

fn update(name: &str, known: Option<&Stored<DurationEntry>>, seconds: &[u32]) -> Update {
    let mut entry = known.map(|stored| stored.value.clone()).unwrap_or_default();
    entry.learn(&runs(seconds));
    Update { name: name.to_owned(), after: known.map_or(0, |stored| stored.mod_revision), entry }
}

async fn write(bench: &Bench, updates: &[Update], removals: &[Removal]) -> Vec<Learned> {
    let reply = bench.store.txn(learn(updates, removals)).await.unwrap();
    read(updates, &reply).unwrap()
}

async fn known(bench: &Bench, name: &str) -> Option<Stored<DurationEntry>> {
    let kv = bench.get(&Key::Duration(name.to_owned()).to_string()).await?;
    Some(record::decode_kv(&kv).unwrap())
}

async fn names(bench: &Bench) -> Vec<String> {
    let listing = bench.store.list(key::durations(), ListOptions::default()).await.unwrap();
    let name = |key: &str| match Key::parse(key).unwrap() {
        Key::Duration(name) => name,
        other => panic!("{other}"),
    };
    listing.kvs.iter().map(|kv| name(&kv.key)).collect()
}

pub async fn two_nodes_that_learn_of_one_name_lose_nothing(bench: &Bench) {
    let outcomes = write(bench, &[update(NAME, None, &[10])], &[]).await;
    assert!(matches!(outcomes[..], [Learned::Written]), "{outcomes:?}");
    let seen = known(bench, NAME).await.unwrap();
    let (first, second) = (update(NAME, Some(&seen), &[12, 12]), update(NAME, Some(&seen), &[300]));
    let other = update("other", None, &[7]);
    assert!(matches!(write(bench, &[first], &[]).await[..], [Learned::Written]));
    let outcomes = write(bench, &[second, other], &[]).await;
    let [Learned::Beaten(Some(now)), Learned::Written] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert_eq!(now.value.last_s, [10, 12, 12], "the loser is told what stands there");
    assert!(matches!(write(bench, &[update(NAME, Some(now), &[300])], &[]).await[..], [Learned::Written]));
    let end = known(bench, NAME).await.unwrap().value;
    assert_eq!((end.runs, end.expected_s, end.tick), (4, 12, Tick(9)));
    assert_eq!(end.last_s, [10, 12, 12, 300]);
    assert_eq!(names(bench).await, ["other", NAME]);
}

pub async fn names_go_for_others_unless_they_have_learned_meanwhile(bench: &Bench) {
    write(bench, &[update("a", None, &[1]), update("b", None, &[1])], &[]).await;
    let seen = known(bench, "a").await.unwrap();
    write(bench, &[update("b", known(bench, "b").await.as_ref(), &[2])], &[]).await;
    let removals = ["a", "b"].map(|name| Removal { name: name.to_owned(), after: seen.mod_revision });
    let outcomes = write(bench, &[update("c", None, &[3])], &removals).await;
    assert!(matches!(outcomes[..], [Learned::Written]), "{outcomes:?}");
    assert_eq!(names(bench).await, ["b", "c"]);
    let outcomes = write(bench, &[update("a", Some(&seen), &[1])], &[]).await;
    assert!(matches!(outcomes[..], [Learned::Beaten(None)]), "a name that is gone begins anew: {outcomes:?}");
}

pub async fn a_record_of_a_newer_program_is_left_as_it_is(bench: &Bench) {
    bench.put(&Key::Duration(NAME.to_owned()).to_string(), r#"{"v":2,"expected":"soon"}"#).await;
    let outcomes = write(bench, &[update(NAME, None, &[1])], &[]).await;
    assert!(matches!(outcomes[..], [Learned::Unreadable(_)]), "{outcomes:?}");
}
