//! Retries, on a storage in memory with faults.

use super::*;
use crate::storage::memory::{Fault, Memory, Operation};
use crate::storage::{ErrorKind, Part};
use crate::storage::{get_bytes, list_all};
use futures_util::stream::{self, StreamExt};
use std::cell::Cell;
use std::sync::Arc;

fn quick() -> RetryPolicy {
    RetryPolicy {
        attempts: 4,
        first_backoff: Duration::from_millis(1),
        max_backoff: Duration::from_millis(4),
        ask_answer: Duration::from_millis(50),
        first_byte: Duration::from_millis(50),
        stalled_body: Duration::from_millis(50),
        ask_budget: Duration::from_secs(1),
        transfer_budget: Duration::from_secs(1),
        ..RetryPolicy::default()
    }
}

fn retrying(memory: &Memory) -> Retry {
    Retry::new(Arc::new(memory.clone()), quick())
}

fn key() -> Key {
    Key::parse("wal_005/000000010000000000000001").unwrap()
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

#[test]
fn passing_faults_pass() {
    for fault in [
        Fault::Before(ErrorKind::Network),
        Fault::After(ErrorKind::Timeout),
        Fault::Before(ErrorKind::Busy),
        Fault::Hang,
    ] {
        let memory = Memory::new();
        let storage = retrying(&memory);
        for operation in [Operation::Head, Operation::Get, Operation::Put, Operation::List, Operation::Delete]
        {
            memory.fail(operation, 1, fault);
        }
        run(async {
            let body = Bytes::from_static(b"wal");
            storage.put(&key(), body.clone(), PutMode::Overwrite).await.unwrap();
            assert_eq!(storage.head(&key()).await.unwrap().unwrap().size, 3);
            assert_eq!(get_bytes(&storage, &key()).await.unwrap().unwrap().1, body);
            assert_eq!(list_all(&storage, &Prefix::root(), Depth::All).await.unwrap().objects.len(), 1);
            assert!(storage.delete(&[key()]).await.unwrap().failed.is_empty());
        });
        assert!(memory.keys().is_empty());
        assert_eq!(memory.calls(Operation::Put), 2);
    }
}

#[test]
fn final_errors_are_not_repeated() {
    for kind in [ErrorKind::Refused, ErrorKind::NoBucket, ErrorKind::Invalid, ErrorKind::Changed] {
        let memory = Memory::new();
        memory.fail(Operation::Head, 1, Fault::Before(kind));
        let error = run(retrying(&memory).head(&key())).unwrap_err();
        assert_eq!(error.kind(), kind);
        assert_eq!(memory.calls(Operation::Head), 1);
    }
}

#[test]
fn gives_up_and_says_what_was_spent() {
    let memory = Memory::new();
    for call in 1..10 {
        memory.fail(Operation::Head, call, Fault::Before(ErrorKind::Busy));
    }
    let error = run(retrying(&memory).head(&key())).unwrap_err();
    assert_eq!(memory.calls(Operation::Head), 4);
    assert!(error.to_string().contains("(gave up after 4 attempts in "), "{error}");
}

/// What docs/storage.md promises of a command that nobody has tuned; the rest is for the name service.
#[test]
fn the_defaults_keep_the_promises() {
    let policy = RetryPolicy::default();
    assert!(policy.ask_budget + Duration::from_secs(2) <= Duration::from_secs(15));
    assert!(policy.transfer_budget + Duration::from_secs(2) <= Duration::from_secs(60));
    assert!(policy.ask_answer < policy.ask_budget, "there is time for a second attempt");
    assert!(policy.first_byte.max(policy.stalled_body) * 2 < policy.transfer_budget);
}

#[test]
fn an_attempt_has_what_is_left_of_the_budget() {
    let memory = Memory::new();
    for call in 1..10 {
        memory.fail(Operation::Head, call, Fault::Hang);
    }
    let policy = RetryPolicy {
        ask_answer: Duration::from_secs(3600),
        ask_budget: Duration::from_millis(60),
        ..quick()
    };
    let error = run(Retry::new(Arc::new(memory.clone()), policy).head(&key())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(memory.calls(Operation::Head), 1);
    assert!(error.to_string().contains("(gave up after 1 attempt in "), "{error}");
}

/// An attempt at a request of which the connection takes a piece each time, and that then ends as `last` says.
async fn moving(times: u32, each: Duration, last: impl Future<Output = Result<()>>) -> Result<()> {
    let progress = Progress::of_this_attempt();
    for _ in 0..times {
        progress.sending();
        tokio::time::sleep(each).await;
    }
    progress.sent(times as usize);
    last.await
}

const PIECE: Duration = Duration::from_millis(20);

/// Of 50 pieces, moves for longer than an attempt may be silent and than the budget.
fn on_a_slow_line() -> Retry {
    let limit = Duration::from_millis(500);
    let policy = RetryPolicy {
        first_byte: limit,
        stalled_body: limit,
        transfer_budget: limit.mul_f64(1.5),
        ..quick()
    };
    Retry { policy, ..retrying(&Memory::new()) }
}

#[test]
fn a_body_that_moves_may_take_its_time() {
    let storage = on_a_slow_line();
    let call = storage.call("put", None, Class::Transfer);
    let broken = || Error::new(ErrorKind::Network, "put", None, storage.location(), "broken off");
    let attempts = Cell::new(0);
    run(call.run(|| {
        attempts.set(attempts.get() + 1);
        moving(50, PIECE, async { if attempts.get() < 3 { Err(broken()) } else { Ok(()) } })
    }))
    .unwrap();
    assert_eq!(attempts.get(), 3);
}

#[test]
fn a_body_that_no_longer_moves_has_what_is_left_of_the_budget() {
    for (pieces, expected) in
        [(0, "no answer within 1 s (gave up"), (5, "within 1 s after the whole body was sent (")]
    {
        let mut storage = on_a_slow_line();
        storage.policy.first_byte = Duration::from_secs(3600);
        let call = storage.call("put", None, Class::Transfer);
        let attempts = Cell::new(0);
        let error = run(call.run(|| {
            attempts.set(attempts.get() + 1);
            let moves = moving(pieces, PIECE, std::future::pending());
            async move { if pieces == 0 { std::future::pending().await } else { moves.await } }
        }));
        let error = error.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(attempts.get(), 1);
    }
}

/// A slow line leaves the kernel's buffer as slowly as it has taken what went before.
#[test]
fn what_drains_slowly_is_waited_for() {
    let mut storage = on_a_slow_line();
    storage.policy.transfer_budget = Duration::from_secs(60);
    let call = storage.call("put", None, Class::Transfer);
    let answer = || async {
        tokio::time::sleep(storage.policy.first_byte * 2).await;
        Ok(())
    };
    run(call.run(|| moving(50, PIECE, answer()))).unwrap();
    let error = run(call.run(|| moving(1, PIECE, answer()))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

#[test]
fn a_broken_body_goes_on_where_it_broke() {
    let memory = Memory::new();
    let body: Bytes = (0..1_000_000u32).map(|n| n.to_le_bytes()[0]).collect::<Vec<u8>>().into();
    memory.set(&key(), body.clone());
    memory.fail(Operation::Get, 1, Fault::CutBody(100_000));
    memory.fail(Operation::Get, 2, Fault::CutBody(0));
    memory.fail(Operation::Get, 3, Fault::Hang);
    memory.fail(Operation::Get, 4, Fault::CutBody(700_000));
    let (_, read) = run(get_bytes(&retrying(&memory), &key())).unwrap().unwrap();
    assert!(read == body);
    assert_eq!(memory.calls(Operation::Get), 5);
}

/// A byte now and then is no progress: the rest is asked for again, and given up in the end.
#[test]
fn a_body_that_only_drips_is_given_up() {
    let memory = Memory::new();
    memory.set(&key(), vec![1; 100_000]);
    let storage = retrying(&memory);
    for call in [1, 2, 4, 5, 6, 7] {
        memory.fail(Operation::Get, call, Fault::Drip);
    }
    let read = || {
        run(async { tokio::time::timeout(Duration::from_secs(20), get_bytes(&storage, &key())).await })
            .unwrap()
    };
    read().unwrap().unwrap();
    assert_eq!(memory.calls(Operation::Get), 3);
    let error = read().unwrap_err();
    assert_eq!((error.kind(), memory.calls(Operation::Get)), (ErrorKind::Timeout, 7));
    assert!(error.to_string().contains("less than 64 KiB came in 0 s, at "), "{error}");
    assert!(error.to_string().contains(" of 100000 bytes (gave up after 4 attempts"), "{error}");
}

/// Neither a slow line, nor a disk that does not take more.
#[test]
fn a_body_that_is_read_slowly_is_no_fault() {
    let pause = Duration::from_millis(60);
    let read = |(bytes, line, disk): (usize, Duration, Duration)| {
        let stream = stream::repeat(()).take(30).then(move |()| async move {
            tokio::time::sleep(line).await;
            Ok(Bytes::from(vec![1; bytes]))
        });
        let size = 30 * bytes as u64;
        let meta = ObjectMeta { key: key(), size, modified: jiff::Timestamp::now(), etag: None };
        let policy = RetryPolicy {
            stalled_body: Duration::from_millis(500),
            transfer_budget: Duration::from_millis(600),
            ..quick()
        };
        let storage = Retry { policy, ..retrying(&Memory::new()) };
        let resuming = Resuming::new(storage, meta, 0, stream.boxed());
        run(async {
            let (mut stream, mut read) = (resuming.stream(), 0);
            while let Some(chunk) = stream.next().await {
                read += chunk.unwrap().len() as u64;
                tokio::time::sleep(disk).await;
            }
            assert_eq!(read, size);
        });
    };
    read((64 << 10, pause / 2, Duration::ZERO));
    read((1, Duration::ZERO, pause));
}

#[test]
fn a_body_that_changed_on_the_way_is_an_error() {
    let memory = Memory::new();
    memory.set(&key(), vec![1; 200_000]);
    memory.fail(Operation::Get, 1, Fault::CutBody(100_000));
    let storage = retrying(&memory);
    let error = run(async {
        let mut body = storage.get(&key(), 0, None).await.unwrap().unwrap();
        memory.set(&key(), vec![2; 200_000]);
        loop {
            match body.stream.next().await.unwrap() {
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    });
    assert_eq!(error.kind(), ErrorKind::Changed);
}

#[test]
fn a_lost_answer_to_complete_is_found_out() {
    for (fault, calls) in [(Fault::After(ErrorKind::Network), 1), (Fault::Before(ErrorKind::Network), 2)] {
        let memory = Memory::new();
        memory.set(&key(), "old");
        memory.fail(Operation::Complete, 1, fault);
        memory.fail(Operation::PutPart, 1, Fault::After(ErrorKind::Network));
        run(async {
            let upload = retrying(&memory).start_upload(&key()).await.unwrap();
            let part = Part { number: 1, offset: 0, body: Bytes::from_static(b"new") };
            let receipt = upload.put_part(part).await.unwrap();
            upload.complete(&[receipt], PutMode::Overwrite).await.unwrap();
        });
        assert_eq!(memory.content(&key()).unwrap(), "new");
        assert_eq!(memory.calls(Operation::Complete), calls);
    }
}

/// The object that is in the way is the one that was completed before.
#[test]
fn a_lost_answer_to_a_completion_on_condition_is_found_out() {
    for (there, outcome) in [(None, PutOutcome::Stored), (Some("other"), PutOutcome::AlreadyExists)] {
        let memory = Memory::new();
        memory.fail(Operation::Complete, 1, Fault::After(ErrorKind::Network));
        memory.fail(Operation::Head, 1, Fault::Before(ErrorKind::Network));
        if let Some(content) = there {
            memory.set(&key(), content);
        }
        run(async {
            let upload = retrying(&memory).start_upload(&key()).await.unwrap();
            let part = Part { number: 1, offset: 0, body: Bytes::from_static(b"new") };
            let receipt = upload.put_part(part).await.unwrap();
            assert_eq!(upload.complete(&[receipt], PutMode::CreateOnly).await.unwrap(), outcome);
        });
        assert_eq!(memory.content(&key()).unwrap(), there.unwrap_or("new"));
    }
}

#[test]
fn a_lost_create_shows_as_existing() {
    let memory = Memory::new();
    memory.fail(Operation::Put, 1, Fault::After(ErrorKind::Network));
    let outcome = run(retrying(&memory).put(&key(), Bytes::from_static(b"x"), PutMode::CreateOnly)).unwrap();
    assert_eq!(outcome, PutOutcome::AlreadyExists);
}
