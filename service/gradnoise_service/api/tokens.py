"""Tokens, for administrators."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Path

from gradnoise_service.api.auth import Admin
from gradnoise_service.api.problem import documented
from gradnoise_service.api.schemas import Items, NewToken, TokenIn, TokenOut
from gradnoise_service.api.service import CurrentService
from gradnoise_service.store import tokens

router = APIRouter(tags=["tokens"])

TokenName = Annotated[
    str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$", description="The token's name.")
]


@router.post(
    "/tokens", status_code=201, summary="Make a token", responses=documented(409, 413, 422)
)
def create(_caller: Admin, wanted: TokenIn, service: CurrentService) -> NewToken:
    """Make a token and show it this one time; only its digest is stored."""
    now = service.clock()
    expires_at = None if wanted.days is None else now + timedelta(days=wanted.days)
    with service.database.session(write=True) as session:
        made = tokens.create(
            session,
            owner=wanted.owner,
            scopes=wanted.scopes,
            name=wanted.name,
            expires_at=expires_at,
            now=now,
        )
    return NewToken(
        name=wanted.name,
        owner=wanted.owner,
        scopes=wanted.scopes,
        expires_at=expires_at,
        token=made,
    )


@router.get("/tokens", summary="List the tokens", responses=documented())
def list_tokens(_caller: Admin, service: CurrentService) -> Items[TokenOut]:
    """Return what is known of every token, without the tokens."""
    with service.database.session() as session:
        return Items(
            items=[
                TokenOut.model_validate(info, from_attributes=True)
                for info in tokens.list_all(session)
            ]
        )


@router.delete(
    "/tokens/{name}", status_code=204, summary="Revoke a token", responses=documented(404, 422)
)
def revoke(_caller: Admin, name: TokenName, service: CurrentService) -> None:
    """Delete a token; whoever uses it is refused from now on."""
    with service.database.session(write=True) as session:
        tokens.revoke(session, name)
