"""Endpoints of API tokens, for administrators."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from gradnoise_service.api.auth import Admin
from gradnoise_service.api.problem import documented
from gradnoise_service.api.schemas import Items
from gradnoise_service.api.state import CurrentService
from gradnoise_service.domain.access import Scope
from gradnoise_service.usecases import tokens

router = APIRouter(prefix="/v1", tags=["tokens"])

TokenName = Annotated[
    str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$", description="The token's name.")
]


class TokenIn(BaseModel, extra="forbid", strict=True):
    """A token to create."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$", description="Name of the token; unique."
    )
    owner: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@-]{0,79}$",
        description="Owner of the studies submitted with the token.",
    )
    scopes: list[Scope] = Field(
        default=["read", "submit"],
        min_length=1,
        max_length=4,
        description="`admin` includes the others; `code` permits to send code.",
    )
    days: int | None = Field(
        default=90, ge=1, le=3650, description="Days until the token expires; null for never."
    )


class TokenOut(BaseModel):
    """The description of a token."""

    name: str
    owner: str
    scopes: list[Scope]
    expires_at: datetime | None


class NewToken(TokenOut):
    """A new token with its description; the token cannot be read again."""

    token: str


@router.post(
    "/tokens",
    status_code=201,
    summary="Create a token",
    responses=documented(400, 409, 413, 415, 422),
)
def create(_caller: Admin, body: TokenIn, service: CurrentService) -> NewToken:
    """Create a token and return it; it cannot be read again, because only its digest is stored."""
    token, info = tokens.create(service, **dict(body))
    return NewToken(**TokenOut.model_validate(info, from_attributes=True).model_dump(), token=token)


@router.get("/tokens", summary="List the tokens", responses=documented())
def list_tokens(_caller: Admin, service: CurrentService) -> Items[TokenOut]:
    """Return name, owner, scopes and expiry of every token."""
    infos = tokens.list_all(service)
    return Items(items=[TokenOut.model_validate(info, from_attributes=True) for info in infos])


@router.delete(
    "/tokens/{name}", status_code=204, summary="Revoke a token", responses=documented(404, 422)
)
def revoke(_caller: Admin, name: TokenName, service: CurrentService) -> None:
    """Delete a token; requests with it are refused from now on."""
    tokens.revoke(service, name)
