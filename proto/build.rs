//! Generates the wire types and the descriptor set (for reflection) from `proto/shoal/v1`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    tonic_prost_build::configure().file_descriptor_set_path(out.join("shoal_v1.bin")).compile_protos(
        &["proto/shoal/v1/shoal.proto", "proto/shoal/v1/image.proto", "proto/shoal/v1/peer.proto"],
        &["proto"],
    )?;
    println!("cargo::rerun-if-changed=proto");
    Ok(())
}
