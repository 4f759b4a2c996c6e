//! Retries, on a storage in memory with faults.

use super::*;
use crate::storage::memory::{Fault, Memory, Operation};
use crate::storage::{ErrorKind, Part};
use crate::storage::{get_bytes, list_all};
use futures_util::StreamExt;
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
    assert!(error.to_string().contains("(gave up after 4 attempts in 0."), "{error}");
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
    assert!(error.to_string().contains("(gave up after 1 attempt in 0."), "{error}");
}

#[test]
fn who_watches_a_body_has_what_is_left_of_the_budget() {
    let storage = retrying(&Memory::new());
    let call = storage.call("put", None, Class::Transfer).longer(Duration::from_secs(3600));
    let hour = Duration::from_secs(3600);
    let asked = run(call.run(|| async { Ok(patience(hour)) })).unwrap();
    assert!(asked <= quick().transfer_budget, "{asked:?}");
    assert_eq!(run(call.run(|| async { Ok(patience(Duration::ZERO)) })).unwrap(), Duration::ZERO);
    assert_eq!(patience(hour), hour, "outside of a request");
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
            upload.complete(&[receipt]).await.unwrap();
        });
        assert_eq!(memory.content(&key()).unwrap(), "new");
        assert_eq!(memory.calls(Operation::Complete), calls);
    }
}

#[test]
fn a_lost_create_shows_as_existing() {
    let memory = Memory::new();
    memory.fail(Operation::Put, 1, Fault::After(ErrorKind::Network));
    let outcome = run(retrying(&memory).put(&key(), Bytes::from_static(b"x"), PutMode::CreateOnly)).unwrap();
    assert_eq!(outcome, PutOutcome::AlreadyExists);
}
