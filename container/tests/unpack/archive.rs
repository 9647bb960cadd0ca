//! Writes tar archives block by block, well-formed or not.

use sha2::{Digest, Sha256};
use std::io::Write;

/// An archive that is being written.
#[derive(Clone, Default)]
pub struct Tar(pub Vec<u8>);

/// The fields of one header.
#[derive(Clone)]
pub struct Header<'a> {
    pub name: &'a [u8],
    pub kind: u8,
    pub link: &'a [u8],
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    /// `None` is the length of the data.
    pub size: Option<u64>,
    pub mtime: &'a [u8],
}

impl<'a> Header<'a> {
    pub fn new(name: &'a str, kind: u8) -> Header<'a> {
        let mode = if kind == b'5' { 0o755 } else { 0o644 };
        Header { name: name.as_bytes(), kind, link: b"", mode, uid: 0, gid: 0, size: None, mtime: b"0" }
    }
}

impl Tar {
    pub fn new() -> Tar {
        Tar::default()
    }

    pub fn file(self, name: &str, data: &[u8]) -> Tar {
        self.entry(Header::new(name, b'0'), data)
    }

    pub fn dir(self, name: &str) -> Tar {
        self.entry(Header::new(name, b'5'), b"")
    }

    pub fn symlink(self, name: &str, to: &str) -> Tar {
        self.entry(Header { link: to.as_bytes(), ..Header::new(name, b'2') }, b"")
    }

    pub fn hardlink(self, name: &str, to: &str) -> Tar {
        self.entry(Header { link: to.as_bytes(), ..Header::new(name, b'1') }, b"")
    }

    /// An extended header of these records.
    pub fn pax(self, kind: u8, records: &[(&str, &str)]) -> Tar {
        let text: String = records.iter().map(|(key, value)| record(key, value)).collect();
        self.entry(Header::new("pax", kind), text.as_bytes())
    }

    pub fn entry(mut self, header: Header<'_>, data: &[u8]) -> Tar {
        let mut block = [0u8; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &header.name[..header.name.len().min(100)]);
        put(100, format!("{:07o}", header.mode).as_bytes());
        put(108, &number(header.uid, 8));
        put(116, &number(header.gid, 8));
        put(124, &number(header.size.unwrap_or(data.len() as u64), 12));
        put(136, header.mtime);
        put(156, &[header.kind]);
        put(157, &header.link[..header.link.len().min(100)]);
        put(257, b"ustar\x0000");
        put(148, b"        ");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&block);
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// The whole archive.
    pub fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

/// Octal where it fits, base 256 where it does not.
fn number(value: u64, width: usize) -> Vec<u8> {
    let text = format!("{value:0width$o}", width = width - 1);
    if text.len() < width {
        return text.into_bytes();
    }
    let mut bytes = vec![0; width];
    bytes[width - 8..].copy_from_slice(&value.to_be_bytes());
    bytes[0] |= 0x80;
    bytes
}

fn record(key: &str, value: &str) -> String {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len() + 1;
    while length != rest.len() + length.to_string().len() {
        length += 1;
    }
    format!("{length}{rest}")
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An OCI layout: its documents can be changed before they are packed.
pub struct Layout {
    pub layers: Vec<Vec<u8>>,
    pub config: serde_json::Value,
    pub platform: Option<(&'static str, &'static str)>,
}

impl Layout {
    pub fn new(layers: Vec<Vec<u8>>) -> Layout {
        Layout { layers, config: serde_json::json!({}), platform: None }
    }

    /// The manifest's text.
    pub fn manifest(&self) -> Vec<u8> {
        let descriptor = |media: &str, bytes: &[u8]| serde_json::json!({"mediaType": media, "digest": format!("sha256:{}", sha256(bytes)), "size": bytes.len()});
        let layers: Vec<_> =
            self.layers.iter().map(|l| descriptor("application/vnd.oci.image.layer.v1.tar", l)).collect();
        let config = serde_json::to_vec(&self.document()).unwrap();
        let config = descriptor("application/vnd.oci.image.config.v1+json", &config);
        serde_json::to_vec(&serde_json::json!({"schemaVersion": 2, "config": config, "layers": layers}))
            .unwrap()
    }

    fn document(&self) -> serde_json::Value {
        serde_json::json!({"architecture": "amd64", "os": "linux", "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": []}})
    }

    pub fn digest(&self) -> String {
        sha256(&self.manifest())
    }

    /// Packs it; `twist` may change a blob's bytes after its digest was taken.
    pub fn pack(&self, twist: impl Fn(usize, Vec<u8>) -> Vec<u8>) -> Vec<u8> {
        let manifest = self.manifest();
        let mut descriptor = serde_json::json!({"mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": format!("sha256:{}", sha256(&manifest)), "size": manifest.len()});
        if let Some((os, architecture)) = self.platform {
            descriptor["platform"] = serde_json::json!({"os": os, "architecture": architecture});
        }
        let index = serde_json::json!({"schemaVersion": 2, "manifests": [descriptor]});
        let config = serde_json::to_vec(&self.document()).unwrap();
        let blobs = [manifest, config].into_iter().chain(self.layers.iter().cloned());
        let mut tar = Tar::new().dir("blobs/").dir("blobs/sha256/");
        for (number, blob) in blobs.enumerate() {
            let name = format!("blobs/sha256/{}", sha256(&blob));
            tar = tar.file(&name, &twist(number, blob));
        }
        tar.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)
            .file("index.json", &serde_json::to_vec(&index).unwrap())
            .end()
    }
}
