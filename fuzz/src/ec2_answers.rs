//! Answers of EC2, through the code that asks: the first byte says what is asked, the second the status, the rest is the body.

use std::sync::OnceLock;
use std::time::Duration;

use seawall::storage::retry::RetryPolicy;
use seawall::volumes::{Account, Attached, Ec2, Instance, NewSnapshot};

use super::service::{Service, credentials};

const STATUSES: [u16; 8] = [200, 200, 200, 200, 400, 403, 500, 301];

const SNAPSHOT: &str = "snap-1";

pub fn run(bytes: &[u8]) {
    static SERVICE: OnceLock<Service> = OnceLock::new();
    let service = SERVICE.get_or_init(Service::start);
    let [question, status, body @ ..] = bytes else { return };
    service.answer(STATUSES[usize::from(*status) % STATUSES.len()], body);
    let account = Account {
        credentials: credentials(),
        endpoint: Some(service.endpoint()),
        ca_bundle: None,
        policy: RetryPolicy { attempts: 1, ..RetryPolicy::default() },
    };
    let ec2 = account.in_region("eu-west-1").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(ask(&ec2, *question));
}

async fn ask(ec2: &Ec2, question: u8) {
    match question % 6 {
        by @ (0 | 1) => {
            let identifier = if by == 0 { "i-1" } else { "the name" };
            if let Ok(instance) = ec2.instance(identifier).await {
                assert!(!instance.id.is_empty());
            }
        }
        2 => {
            let instance = Instance {
                id: "i-1".to_owned(),
                root_device: None,
                is_paravirtual: false,
                devices: Vec::new(),
            };
            if let Ok(volumes) = ec2.volumes(&instance).await {
                assert!(volumes.iter().all(|volume| !volume.id.is_empty()));
                let disks = volumes.iter().map(|volume| volume.id.clone()).collect::<Vec<_>>();
                let _ = Attached::chosen(&instance, &volumes, &disks);
            }
        }
        3 => {
            let new = NewSnapshot {
                volume_id: "vol-1".to_owned(),
                name: "name".to_owned(),
                mark: "mark".to_owned(),
                tags: Vec::new(),
            };
            if let Ok(created) = ec2.create_snapshot(&new).await {
                assert!(!created.id.is_empty());
            }
        }
        4 => {
            // What is told to be complete was asked for.
            if ec2.completed(&[SNAPSHOT.to_owned()], Duration::ZERO).await.is_ok() {
                let said = ec2.completed(&["snap-none-of-these".to_owned()], Duration::ZERO).await;
                assert!(said.is_err(), "of a snapshot that was not told");
            }
        }
        _ => drop(ec2.delete_snapshot(SNAPSHOT).await),
    }
}
