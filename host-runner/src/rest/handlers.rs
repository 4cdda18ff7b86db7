//! One short function for each endpoint.

use std::sync::Arc;

use api::{
    ApiError, CreateInstance, ErrorCode, HostFacts, HostUsage, Image, Instance, Snapshot, StopInstance,
};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use tokio::sync::Semaphore;
use tokio::task::JoinError;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::Api;
use super::answer::Failure;
use super::extract::{InstanceId, JsonBody, PathText};
use crate::images::ImageError;
use crate::instances::{Creation, InstanceError, Instances};

type Answer<T> = Result<Json<T>, Failure>;
type Accepted = Result<(StatusCode, Json<Instance>), Failure>;

/// Does a write as a task of its own: a caller that hangs up, or that waits too long, must not leave it half-done.
async fn owned<T, Work>(api: &Api, work: impl FnOnce(Arc<Instances>) -> Work) -> Result<T, InstanceError>
where
    T: Send + 'static,
    Work: Future<Output = Result<T, InstanceError>> + Send + 'static,
{
    let work = work(Arc::clone(&api.instances)).instrument(tracing::Span::current());
    outliving(&api.tasks, &api.instances.writes, work).await?
}

/// Work that goes on without its caller. It begins when there is a place for it.
async fn outliving<Work>(
    tasks: &TaskTracker,
    places: &Arc<Semaphore>,
    work: Work,
) -> Result<Work::Output, JoinError>
where
    Work: Future<Output: Send> + Send + 'static,
{
    // Waiting for a place may be cut off: nothing has begun. The semaphore is never closed.
    let place = Arc::clone(places).acquire_owned().await.ok();
    let task = async move {
        let done = work.await;
        drop(place);
        done
    };
    tasks.spawn(task).await
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Self {
        error.to_api().into()
    }
}

/// What the machine is.
#[utoipa::path(get, path = "/v1/host", responses((status = 200, body = HostFacts)))]
pub async fn host(State(api): State<Api>) -> Json<HostFacts> {
    Json(api.instances.facts.clone())
}

/// How loaded the machine is.
#[utoipa::path(get, path = "/v1/usage", responses((status = 200, body = HostUsage)))]
pub async fn usage(State(api): State<Api>) -> Answer<HostUsage> {
    Ok(Json(api.usage.now(&api.instances).await?))
}

/// Everything at one moment, and the place in the event stream that it belongs to.
#[utoipa::path(get, path = "/v1/snapshot", responses((status = 200, body = Snapshot)))]
pub async fn snapshot(State(api): State<Api>) -> Answer<Snapshot> {
    // The cursor is read first or together with what it belongs to: what changes in between comes again as an event.
    let (instances, cursor) = api.instances.registry.snapshot().await;
    Ok(Json(Snapshot {
        host: api.instances.facts.clone(),
        usage: api.usage.now(&api.instances).await?,
        images: api.images.list().await?,
        instances,
        cursor,
    }))
}

/// All images.
#[utoipa::path(get, path = "/v1/images", responses((status = 200, body = [Image])))]
pub async fn images(State(api): State<Api>) -> Answer<Vec<Image>> {
    Ok(Json(api.images.list().await?))
}

/// One image.
#[utoipa::path(
    get, path = "/v1/images/{name}",
    params(("name" = String, Path, description = "The image's name")),
    responses((status = 200, body = Image), (status = 404, body = ApiError))
)]
pub async fn image(State(api): State<Api>, PathText(name): PathText) -> Answer<Image> {
    let found = api
        .images
        .list()
        .await?
        .into_iter()
        .find(|image| image.name == name);
    found.map(Json).ok_or_else(|| {
        let shown: String = name.chars().take(80).collect();
        ApiError::new(
            ErrorCode::ImageNotFound,
            format!("this machine holds no image {shown:?}"),
        )
        .with("image", shown)
        .into()
    })
}

/// All instances, oldest first.
#[utoipa::path(get, path = "/v1/instances", responses((status = 200, body = [Instance])))]
pub async fn instances(State(api): State<Api>) -> Json<Vec<Instance>> {
    Json(api.instances.registry.snapshot().await.0)
}

/// One instance.
#[utoipa::path(
    get, path = "/v1/instances/{id}",
    params(("id" = uuid::Uuid, Path, description = "The instance's id")),
    responses((status = 200, body = Instance), (status = 404, body = ApiError))
)]
pub async fn instance(State(api): State<Api>, InstanceId(id): InstanceId) -> Answer<Instance> {
    Ok(Json(api.instances.get(id).await?))
}

/// Creates an instance, or changes it to a newer generation; safe to repeat.
#[utoipa::path(
    put, path = "/v1/instances/{id}",
    params(("id" = uuid::Uuid, Path, description = "A version 7 UUID, made by the caller")),
    request_body = CreateInstance,
    responses(
        (status = 201, body = Instance, description = "It is new"),
        (status = 200, body = Instance, description = "It was there, and is as asked"),
        (status = 400, body = ApiError, description = "Malformed"),
        (status = 409, body = ApiError, description = "The machine cannot take it, or holds something else"),
        (status = 413, body = ApiError, description = "The body is too large"),
        (status = 422, body = ApiError, description = "A name or a number breaks its rule"),
        (status = 507, body = ApiError, description = "The disk is full"),
    )
)]
pub async fn create(
    State(api): State<Api>,
    InstanceId(id): InstanceId,
    JsonBody(body): JsonBody<CreateInstance>,
) -> Accepted {
    let work = |instances: Arc<Instances>| async move { instances.create(id, body).await };
    let (creation, instance) = owned(&api, work).await?;
    let status = match creation {
        Creation::Created => StatusCode::CREATED,
        Creation::Kept => StatusCode::OK,
    };
    Ok((status, Json(instance)))
}

/// Removes an instance with its disk; a live guest is killed.
#[utoipa::path(
    delete, path = "/v1/instances/{id}",
    params(("id" = uuid::Uuid, Path, description = "The instance's id")),
    responses((status = 202, body = Instance), (status = 404, body = ApiError))
)]
pub async fn delete(State(api): State<Api>, InstanceId(id): InstanceId) -> Accepted {
    let work = |instances: Arc<Instances>| async move { instances.delete(id).await };
    Ok((StatusCode::ACCEPTED, Json(owned(&api, work).await?)))
}

/// Powers an instance on.
#[utoipa::path(
    post, path = "/v1/instances/{id}/start",
    params(("id" = uuid::Uuid, Path, description = "The instance's id")),
    responses(
        (status = 202, body = Instance),
        (status = 404, body = ApiError),
        (status = 409, body = ApiError, description = "The machine has no room for it, or it is being deleted"),
        (status = 422, body = ApiError, description = "It has less memory than its image needs"),
    )
)]
pub async fn start(State(api): State<Api>, InstanceId(id): InstanceId) -> Accepted {
    let work = |instances: Arc<Instances>| async move { instances.start(id).await };
    Ok((StatusCode::ACCEPTED, Json(owned(&api, work).await?)))
}

/// Stops an instance.
#[utoipa::path(
    post, path = "/v1/instances/{id}/stop",
    params(("id" = uuid::Uuid, Path, description = "The instance's id")),
    request_body = StopInstance,
    responses((status = 202, body = Instance), (status = 404, body = ApiError), (status = 409, body = ApiError))
)]
pub async fn stop(
    State(api): State<Api>,
    InstanceId(id): InstanceId,
    JsonBody(how): JsonBody<StopInstance>,
) -> Accepted {
    let work = |instances: Arc<Instances>| async move { instances.stop(id, how).await };
    Ok((StatusCode::ACCEPTED, Json(owned(&api, work).await?)))
}

/// Stops an instance and powers it on again.
#[utoipa::path(
    post, path = "/v1/instances/{id}/restart",
    params(("id" = uuid::Uuid, Path, description = "The instance's id")),
    request_body = StopInstance,
    responses((status = 202, body = Instance), (status = 404, body = ApiError), (status = 409, body = ApiError))
)]
pub async fn restart(
    State(api): State<Api>,
    InstanceId(id): InstanceId,
    JsonBody(how): JsonBody<StopInstance>,
) -> Accepted {
    let work = |instances: Arc<Instances>| async move { instances.restart(id, how).await };
    Ok((StatusCode::ACCEPTED, Json(owned(&api, work).await?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn a_write_whose_caller_hangs_up_is_finished_and_keeps_its_place_until_then() {
        let (tasks, places) = (TaskTracker::new(), Arc::new(Semaphore::new(1)));
        let (go, gate) = oneshot::channel::<()>();
        let (tell, told) = oneshot::channel();
        let write = outliving(&tasks, &places, async move {
            gate.await.unwrap();
            tell.send("finished").unwrap();
        });
        assert!(write.now_or_never().is_none(), "the caller hangs up");
        let second = outliving(&tasks, &places, std::future::ready("second"));
        assert!(second.now_or_never().is_none(), "there is one place");
        go.send(()).unwrap();
        assert_eq!(told.await, Ok("finished"));
        assert_eq!(
            outliving(&tasks, &places, async { "third" }).await.unwrap(),
            "third"
        );
    }
}
