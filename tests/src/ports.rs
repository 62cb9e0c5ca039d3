//! Ports for servers whose configuration must name one before they start.
//!
//! A port that the system gave for a moment is soon given again, to a test beside or as the near end of any
//! connection. So ports come from below the system's own range, and a locked file keeps each for one process.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use parking_lot::Mutex;

/// Below the ports that Linux hands out by itself, 32,768 and above.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// An address of the loopback that this process alone uses, as long as it lives.
///
/// # Panics
/// The folder for temporary files can't be written, or thousands of tests run at once.
pub fn free_address() -> SocketAddr {
    static HELD: Mutex<Vec<fs::File>> = Mutex::new(Vec::new());
    let folder = std::env::temp_dir().join("weir-test-ports");
    fs::create_dir_all(&folder).expect("a folder for temporary files");
    // Processes that start one after the other look in places far apart.
    let start = u16::try_from(std::process::id().wrapping_mul(7) % u32::from(COUNT)).expect("a remainder is small");
    let mut held = HELD.lock();
    for step in 0..COUNT {
        let port = FIRST + (start + step) % COUNT;
        let file = fs::File::create(folder.join(port.to_string())).expect("a folder for temporary files");
        if file.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            held.push(file);
            return (Ipv4Addr::LOCALHOST, port).into();
        }
    }
    panic!("no free port from {FIRST} on")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A gateway refused to start because its two listeners had been given one port.
    #[test]
    fn no_port_is_given_twice() {
        let given: BTreeSet<SocketAddr> = (0..200).map(|_| free_address()).collect();
        assert_eq!(given.len(), 200);
    }
}
