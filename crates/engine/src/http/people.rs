//! The part of the API for people who sign in on the command line.

use guard_core::{
    ApprovalId,
    people::{
        ApprovalView, ApprovalViews, AskPersonToken, DecideApproval, DeviceSignIn, DeviceState,
        PersonInfo,
    },
};
use reqwest::Method;

use super::{BrokerClient, END_TIMEOUT, REQUEST_TIMEOUT};
use crate::control::ControlError;

impl BrokerClient {
    /// Begins to sign somebody in. The broker waits for the provider.
    pub async fn device(&self) -> Result<DeviceSignIn, ControlError> {
        self.post("/v1/people/device", &serde_json::json!({}), END_TIMEOUT).await
    }

    /// Whether somebody has signed in.
    pub async fn device_token(&self, ask: &AskPersonToken) -> Result<DeviceState, ControlError> {
        self.post("/v1/people/device/token", ask, END_TIMEOUT).await
    }

    /// Who is signed in.
    pub async fn me(&self) -> Result<PersonInfo, ControlError> {
        self.get("/v1/people/self", REQUEST_TIMEOUT).await
    }

    /// Has the broker forget who is signed in.
    pub async fn sign_out(&self) -> Result<(), ControlError> {
        self.send::<()>(Method::POST, "/v1/people/sign-out", None).await.map(drop)
    }

    /// What waits for people.
    pub async fn approvals(&self) -> Result<ApprovalViews, ControlError> {
        self.get("/v1/people/approvals", REQUEST_TIMEOUT).await
    }

    /// What people are asked.
    pub async fn approval(&self, id: ApprovalId) -> Result<ApprovalView, ControlError> {
        self.get(&format!("/v1/people/approvals/{id}"), REQUEST_TIMEOUT).await
    }

    /// Says yes or no.
    pub async fn decide(
        &self,
        id: ApprovalId,
        decision: &DecideApproval,
    ) -> Result<ApprovalView, ControlError> {
        self.post(&format!("/v1/people/approvals/{id}"), decision, REQUEST_TIMEOUT).await
    }
}
