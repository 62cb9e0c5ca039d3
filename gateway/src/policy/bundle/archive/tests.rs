use super::super::fixture;
use super::*;

fn gz(plain: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::best());
    out.write_all(plain).unwrap();
    out.finish().unwrap()
}

/// One entry with a name that the builder would not write.
fn raw(name: &str, kind: EntryType, content: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_size(u64::try_from(content.len()).unwrap());
    header.set_entry_type(kind);
    header.set_cksum();
    let mut builder = Builder::new(Vec::new());
    builder.append(&header, content).unwrap();
    builder.into_inner().unwrap()
}

#[test]
fn files_come_back_as_they_went_in() {
    let files = fixture::good("r1");
    let packed = pack(&files).unwrap();
    assert_eq!(unpack(&packed).unwrap(), files);
    assert_eq!(pack(&files).unwrap(), packed, "the same files, the same bytes");
    for name in ["/a.rego", "./a.rego", "a.rego"] {
        let files = unpack(&gz(&raw(name, EntryType::Regular, b"package a"))).unwrap();
        assert_eq!(files.keys().collect::<Vec<_>>(), ["a.rego"], "{name}");
    }
}

#[test]
fn names_that_lead_elsewhere_and_links_are_refused() {
    for name in ["../../etc/x", "a/../../x", "//etc/x", "a//b", "a/./b", "..", "a\\b", "/../x", "a/\u{7}"] {
        let fault = unpack(&gz(&raw(name, EntryType::Regular, b"x"))).unwrap_err();
        assert!(matches!(fault, BundleFault::Name(_)), "{name}: {fault}");
    }
    for kind in [EntryType::Symlink, EntryType::Link, EntryType::Char, EntryType::Fifo] {
        let fault = unpack(&gz(&raw("a.rego", kind, b""))).unwrap_err();
        assert!(matches!(fault, BundleFault::Link(_)), "{kind:?}: {fault}");
    }
    let mut twice = raw("a.rego", EntryType::Regular, b"x");
    twice.truncate(1024);
    twice.extend(raw("/a.rego", EntryType::Regular, b"y"));
    assert!(matches!(unpack(&gz(&twice)).unwrap_err(), BundleFault::Twice(_)));
}

#[test]
fn what_is_cut_short_or_goes_on_is_refused() {
    let packed = pack(&fixture::good("r1")).unwrap();
    for length in [0, 1, 17, packed.len() / 2, packed.len() - 9, packed.len() - 1] {
        let fault = unpack(&packed[..length]).unwrap_err();
        assert!(matches!(fault, BundleFault::Broken(_)), "{length}: {fault}");
    }
    let longer = [packed.as_slice(), b"more"].concat();
    assert!(matches!(unpack(&longer).unwrap_err(), BundleFault::Broken(_)));
    let mut other = packed.clone();
    let middle = other.len() / 2;
    other[middle] ^= 0xff;
    unpack(&other).unwrap_err();
}

#[test]
fn bombs_and_crowds_are_refused_before_they_fill_the_memory() {
    // The header promises 300 MB; nothing of it is read.
    let mut header = Header::new_gnu();
    header.set_path("data.json").unwrap();
    header.set_size(300 << 20);
    header.set_cksum();
    let fault = unpack(&gz(header.as_bytes())).unwrap_err();
    assert!(matches!(fault, BundleFault::Large { what: "the files together", .. }), "{fault}");
    // A thousand to one and more: zeros after the end of the archive.
    let mut bomb = raw("a.rego", EntryType::Regular, b"x");
    bomb.resize(64 << 20, 0);
    let packed = gz(&bomb);
    assert!(packed.len() < 100_000, "{}", packed.len());
    assert!(matches!(unpack(&packed).unwrap_err(), BundleFault::Large { .. }));
    let mut builder = Builder::new(Vec::new());
    for number in 0..=FILES_MAX {
        let mut header = Header::new_gnu();
        header.set_size(0);
        builder.append_data(&mut header, format!("{number}.rego"), &[][..]).unwrap();
    }
    let fault = unpack(&gz(&builder.into_inner().unwrap())).unwrap_err();
    assert!(matches!(fault, BundleFault::Large { what: "the number of files", .. }), "{fault}");
    unpack(&vec![0; ARCHIVE_BYTES_MAX + 1]).unwrap_err();
}

#[test]
fn a_folder_is_read_like_an_archive_and_its_links_are_refused() {
    let at = tempfile::tempdir().unwrap();
    let files = fixture::good("r1");
    for (name, content) in &files {
        let path = at.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    assert_eq!(folder(at.path()).unwrap(), files);
    std::os::unix::fs::symlink("/etc/hostname", at.path().join("link.rego")).unwrap();
    assert!(matches!(folder(at.path()).unwrap_err(), BundleFault::Link(_)));
}
