"""What a server has that nobody asked while it was recorded: one local user, no hosts, nothing switched on. Pure.

The shapes are those of Omnigent 0.19.
"""

from __future__ import annotations

from typing import Any

Data = dict[str, Any]

ROW: Data = {
    "id": None, "agent_id": None, "agent_name": None, "status": "idle", "created_at": 0, "updated_at": 0, "title": None,
    "labels": {}, "runner_id": None, "host_id": None, "runner_online": True, "host_online": None,
    "reasoning_effort": None, "permission_level": 4, "owner": "local", "external_session_id": None,
    "pending_elicitations_count": 0, "workspace": None, "git_branch": None, "archived": False, "comments_count": 0,
    "comments_updated_at": None, "viewer_last_seen": None, "viewer_unread": False, "parent_session_id": None,
    "project_id": None,
}  # fmt: skip
SNAPSHOT: Data = {
    "id": None, "agent_id": None, "agent_name": None, "status": "idle", "background_task_count": None,
    "background_tasks": None, "created_at": 0, "updated_at": 0, "title": None, "labels": {}, "runner_id": "recorded",
    "host_id": None, "runner_online": True, "host_online": None, "host_resumable": False, "reasoning_effort": None,
    "items": [], "permission_level": 4, "sub_agent_name": None, "kind": "default", "parent_session_id": None,
    "root_conversation_id": None, "llm_model": None, "harness": None, "model_override": None,
    "cost_control_mode_override": None, "subagent_routing_override": None, "share_workspace_files": False,
    "context_window": None, "last_total_tokens": None, "total_cost_usd": None, "usage_by_model": None,
    "usage_included": True, "last_task_error": None, "external_session_id": None, "terminal_launch_args": None,
    "pending_elicitations": [], "pending_inputs": [], "workspace": None, "git_branch": None, "archived": False,
    "todos": [], "model_options": [], "inference_configured": False, "inference_error": None,
    "terminal_pending": False, "sandbox_status": None, "mcp_startup": None, "active_response_id": None,
    "project_id": None,
}  # fmt: skip
CHILD: Data = {
    "id": None, "object": "child_session", "parent_session_id": None, "title": None, "tool": None,
    "session_name": None, "kind": "sub_agent", "created_at": 0, "updated_at": 0, "agent_id": None, "agent_name": None,
    "current_task_status": None, "busy": False,
}  # fmt: skip
AGENT: Data = {
    "id": None, "object": "agent", "name": None, "version": 1, "description": None, "created_at": 0,
    "updated_at": None, "harness": None, "mcp_servers": [], "mcp_servers_editable": False,
    "mcp_registry_editable": False, "policies": [], "skills": [], "terminals": [], "builtin": False,
}  # fmt: skip
_INFO: Data = {
    "accounts_enabled": False, "single_user": True, "login_url": None, "needs_setup": False,
    "databricks_features": False, "managed_sandboxes_enabled": False, "durable_initial_input": False,
    "sandbox_provider": None, "sandbox_providers": [], "sandbox_provider_capabilities": {}, "enabled_connections": [],
    "sharing_mode": "off", "public_sharing_enabled": False, "public_sharing_max_level": "read",
    "server_version": "0.19.1", "smart_routing_enabled": False,
    "smart_routing_sources": {"external": False, "oss": False}, "features": {}, "harness_install_enabled": False,
    "installable_harnesses": [], "dictation_available": False, "archive_worktree_cleanup": False,
    "request_managed_sandbox_host_id": False, "agent_install": False, "agent_detail": False,
    "agent_config_edit": False,
    "branding": {
        "app_name": None, "heading": None, "logos": {"main": None, "loading": None, "favicon": None},
        "powered_by": True,
    },
}  # fmt: skip
_GITHUB: Data = {
    "object": "session.github.info", "available": False, "reason": "not_a_git_repo", "provider": "github",
    "auth": None, "capabilities": {}, "prs": [], "tracking_available": False,
}  # fmt: skip


def page_of(rows: list[Data]) -> Data:
    """A list of the server's, all of it in one page."""
    ids = [row.get("id") for row in rows]
    return {"object": "list", "data": rows, "first_id": ids[0] if ids else None, "last_id": ids[-1] if ids else None,
            "has_more": False}  # fmt: skip


OF_A_SERVER: dict[str, Any] = {
    "/v1/me": {"user_id": "local", "is_admin": False},
    "/v1/info": _INFO,
    "/v1/hosts": {"hosts": []},
    "/v1/harnesses": {"data": []},
    "/v1/extensions": {"object": "list", "data": []},
    "/v1/projects/order": {"sort_mode": "alphabetical", "ordered_project_ids": None},
    "/v1/sessions/projects": [],
    "/v1/policy-registry": page_of([]),
}
"""By path."""
OF_A_SESSION: dict[str, Any] = {
    "/resources/terminals": page_of([]),
    "/resources/environments/default/changes": {"object": "list", "data": [], "has_more": False},
    "/resources/environments/default/filesystem": page_of([]),
    "/resources/github": _GITHUB,
    "/policies": page_of([]),
    "/comments": page_of([]),
    "/agent/mcp-servers": page_of([]),
}
"""By what follows the session's id in the path."""
