//! How many nodes are kept for people is said, seen with the nodes and the status, and ended.

use crate::fixture::{Cluster, Node};
use shoal_proto::v1;
use tonic::Status;
use tonic_types::StatusExt;

pub async fn reserve(node: &Node, nodes: u32, label: &str) -> Result<Option<v1::ReserveInfo>, Status> {
    let request = v1::ReserveRequest { nodes, label: label.to_owned(), by: "ann".to_owned() };
    Ok(node.client.clone().reserve(request).await?.into_inner().reserve)
}

async fn kept(node: &Node) -> usize {
    let nodes = node.client.clone().nodes(v1::NodesRequest {}).await.expect("nodes").into_inner().nodes;
    nodes.iter().filter(|node| node.kept).count()
}

#[tokio::test]
async fn what_is_kept_is_seen_until_nothing_is() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let _others = (cluster.node(2).await, cluster.node(3).await);
    let status =
        || async { node.client.clone().status(v1::StatusRequest {}).await.expect("a status").into_inner() };
    for (wanted, label) in [(2, ""), (1, "type=smithi")] {
        let said = reserve(&node, wanted, label).await.expect("kept").expect("it is said");
        assert_eq!((said.nodes, said.by.as_str(), said.label.as_str()), (wanted, "ann", label));
        assert_eq!(status().await.reserve, Some(said));
        assert_eq!(kept(&node).await, wanted as usize);
    }
    reserve(&node, 9, "no-such").await.expect("kept");
    assert_eq!(kept(&node).await, 0, "none has that label");
    for _ in 0..2 {
        assert_eq!(reserve(&node, 0, "").await.expect("none any more"), None);
        assert_eq!((status().await.reserve, kept(&node).await), (None, 0));
    }
}

#[tokio::test]
async fn what_is_no_label_names_the_field() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let refused = reserve(&node, 1, "a b").await.expect_err("no label");
    let violations = refused.get_details_bad_request().expect("details").field_violations;
    assert_eq!(violations[0].field, "label");
}
