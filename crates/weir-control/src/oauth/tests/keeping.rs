//! What a server does ahead of time.

use super::*;

struct One(Grants, Arc<dyn AuthorizationServer>);

#[async_trait]
impl Servers for One {
    async fn grants(&self) -> Result<Grants> {
        Ok(self.0.clone())
    }

    async fn server(&self, _: &str) -> Result<Option<Arc<dyn AuthorizationServer>>> {
        Ok(Some(self.1.clone()))
    }
}

#[tokio::test]
async fn a_server_refreshes_ahead_of_time_and_before_a_grant_is_forgotten() {
    let rig = Rig::new(provider()).await;
    let servers = One(rig.grants.clone(), rig.server.clone());
    assert_eq!(
        keep::look_round(&rig.grants.store, "default", &servers)
            .await
            .unwrap(),
        0
    );
    rig.pass(3600 - 140).await;
    assert_eq!(
        keep::look_round(&rig.grants.store, "default", &servers)
            .await
            .unwrap(),
        1
    );
    assert_eq!(
        keep::look_round(&rig.grants.store, "default", &servers)
            .await
            .unwrap(),
        0
    );
    assert_eq!(rig.access().await.unwrap(), "access-1");
    testing::execute(&rig.grants.store, "UPDATE grants SET access_expires_at_ms = NULL").await;
    rig.pass(19 * 3600).await;
    assert_eq!(
        keep::look_round(&rig.grants.store, "default", &servers)
            .await
            .unwrap(),
        0
    );
    rig.pass(5 * 3600).await;
    assert_eq!(
        keep::look_round(&rig.grants.store, "default", &servers)
            .await
            .unwrap(),
        1
    );
    // One that fails is left alone for a while.
    rig.pass(25 * 3600).await;
    rig.provider.answers(Err(down()));
    assert_eq!(
        keep::look_round(&rig.grants.store, "default", &servers)
            .await
            .unwrap(),
        0
    );
    assert_eq!(
        keep::look_round(&rig.grants.store, "default", &servers)
            .await
            .unwrap(),
        0
    );
    assert_eq!(rig.provider.asked(), 3);
}

#[tokio::test]
async fn the_end_of_a_grant_is_told_a_day_before_and_once() {
    let rig = Rig::new(Provider {
        refresh_life: Some(Duration::from_secs(3 * 86_400)),
        rotates: false,
        ..provider()
    })
    .await;
    let servers = One(rig.grants.clone(), rig.server.clone());
    let told = || async {
        let audit = rig.audit().await;
        audit
            .iter()
            .filter(|line| line.starts_with("oauth.ending"))
            .count()
    };
    keep::look_round(&rig.grants.store, "default", &servers)
        .await
        .unwrap();
    assert_eq!(told().await, 0);
    testing::execute(
        &rig.grants.store,
        "UPDATE grants SET refresh_expires_at_ms = refresh_expires_at_ms - 172900000",
    )
    .await;
    keep::look_round(&rig.grants.store, "default", &servers)
        .await
        .unwrap();
    keep::look_round(&rig.grants.store, "default", &servers)
        .await
        .unwrap();
    assert_eq!(told().await, 1);
}
