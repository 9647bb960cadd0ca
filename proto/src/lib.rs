//! The wire format of Shoal, package `shoal.v1`, and the only conversion between it and the core's types.

pub mod convert;

#[allow(missing_docs, clippy::all, clippy::pedantic, clippy::unwrap_used)]
pub mod v1 {
    //! Generated from `proto/shoal/v1/shoal.proto`.
    tonic::include_proto!("shoal.v1");
}

/// The compiled descriptors of `shoal.v1`, for gRPC reflection.
pub const DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("shoal_v1");
