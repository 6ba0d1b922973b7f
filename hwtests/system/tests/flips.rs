//! A flipped bit in any file of a pool, with the real programs: a restore gives the right bytes, or says what is lost.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use system::{Dice, History, Site, copy, run};

/// Every file of a pool that has content, in order.
fn files(root: PathBuf) -> Vec<PathBuf> {
    let (mut directories, mut found) = (vec![root], Vec::new());
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(data) if data.is_dir() => directories.push(entry.path()),
                Ok(data) if data.len() > 0 => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_flipped_bit_is_told_or_harmless() {
    let mut site = Site::start().unwrap();
    let mut history = History::begin(&site, 1).unwrap();
    let mut backup = history.start_backup(&site).unwrap();
    assert!(backup.wait().unwrap().success());
    history.settle(&site, true).unwrap();
    // Until the catalog has everything.
    std::thread::sleep(std::time::Duration::from_secs(1));
    site.kill_server().unwrap();
    let (data, intact) = (site.data().to_owned(), site.path("intact"));
    fs::rename(&data, &intact).unwrap();
    let mut dice = Dice::new(7);
    let (mut whole, mut told) = (0, 0);
    for round in 0..100u64 {
        if data.exists() {
            fs::remove_dir_all(&data).unwrap();
        }
        copy(&intact, &data).unwrap();
        let all = files(data.join("pool"));
        let path = &all[usize::try_from(dice.below(all.len() as u64)).unwrap()];
        let file = fs::File::options().read(true).write(true).open(path).unwrap();
        let at = dice.below(file.metadata().unwrap().len());
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1 << dice.below(8)], at).unwrap();
        drop(file);
        let context = format!("round {round}: byte {at} of {}", path.display());
        let restored = history.restore_what_can_be(&site, &context).unwrap();
        if restored {
            whole += 1;
            continue;
        }
        told += 1;
        let verified = run(&mut site.keepfast(&["pool", "verify"]).unwrap()).unwrap();
        assert_eq!(verified.status.code(), Some(1), "{context}: {verified:?}");
    }
    assert!(whole > 10 && told > 10, "{whole} whole, {told} told");
}
