//! The servers that other chapters stand on: they start, go away, and come back.

use e2e::ports::free_address;
use e2e::servers::postgres::Postgres;
use e2e::servers::redis::Redis;

#[test]
fn redis_goes_away_and_comes_back() {
    let address = free_address();
    let Some(mut redis) = Redis::start_with(Some(address), &["--appendonly", "yes"]) else { return };
    assert!(std::net::TcpStream::connect(address).is_ok());
    assert_eq!(redis.tell("INCRBY n 7").as_deref(), Some(":7\r\n"));
    redis.away();
    assert_eq!(redis.tell("GET n"), None);
    redis.back();
    assert_eq!(redis.tell("GET n").as_deref(), Some("$1\r\n7\r\n"));
}

#[test]
fn postgres_goes_away_and_comes_back() {
    let Some(mut postgres) = Postgres::start_at(Some(free_address())) else { return };
    let url = postgres.database_by_port("one");
    assert!(url.starts_with("postgres://weir@127.0.0.1:") && url.ends_with("/one"), "{url}");
    postgres.away();
    postgres.back();
    postgres.database("two");
}
