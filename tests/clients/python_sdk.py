"""The Python SDK: python_sdk.py URL. Line protocol as in common.mjs; the modern era first, then the legacy one."""

import asyncio
import json
import os
import sys
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp.client.auth import OAuthClientProvider
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata


def say(value):
    print(json.dumps(value), flush=True)


class MemoryStorage:
    tokens = None
    client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client_info):
        self.client = client_info


class Callback:
    """The client's own loopback server, and the user's browser."""

    sign_ins = 0

    async def listen(self):
        self.arrived = asyncio.Queue()
        self.server = await asyncio.start_server(self.answer, "127.0.0.1", 0)
        port = self.server.sockets[0].getsockname()[1]
        self.redirect_uri = f"http://localhost:{port}/callback"

    async def answer(self, reader, writer):
        target = (await reader.readline()).split()[1].decode()
        while (await reader.readline()).strip():
            pass
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\nconnection: close\r\n\r\nSigned in")
        await writer.drain()
        writer.close()
        if target.startswith("/callback?"):
            await self.arrived.put({key: values[0] for key, values in parse_qs(urlsplit(target).query).items()})

    async def redirect(self, url):
        self.sign_ins += 1
        await asyncio.create_subprocess_exec(os.environ["BROWSER"], url, stdin=asyncio.subprocess.DEVNULL, stdout=2)

    async def result(self):
        parameters = await self.arrived.get()
        if "code" not in parameters:
            raise RuntimeError(f"{parameters.get('error')}: {parameters.get('error_description')}")
        return AuthorizationCodeResult(
            code=parameters["code"], state=parameters.get("state"), iss=parameters.get("iss")
        )


async def main(url):
    callback = Callback()
    await callback.listen()
    # No token_endpoint_auth_method: the SDK leaves it out, which by RFC 7591 asks for client_secret_basic.
    metadata = OAuthClientMetadata(
        client_name="Python SDK",
        redirect_uris=[callback.redirect_uri],
        grant_types=["authorization_code", "refresh_token"],
        response_types=["code"],
    )
    auth = OAuthClientProvider(
        server_url=url,
        client_metadata=metadata,
        storage=MemoryStorage(),
        redirect_handler=callback.redirect,
        callback_handler=callback.result,
        client_metadata_url=os.environ.get("CLIENT_METADATA_URL"),
    )
    async with (
        httpx2.AsyncClient(auth=auth, timeout=60) as http,
        Client(streamable_http_client(url, http_client=http), mode="auto") as client,
    ):
        tools = await client.list_tools()
        say(
            {
                "client": "python",
                "protocol": client.protocol_version,
                "tools": [tool.name for tool in tools.tools],
            }
        )
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            call = json.loads(line)
            try:
                result = await client.call_tool(call["tool"], call.get("arguments", {}))
                text = result.content[0].text if result.content else None
                say({"text": text, "isError": bool(result.is_error), "signIns": callback.sign_ins})
            except Exception as error:  # whatever the SDK raises is what its user would see
                say({"error": f"{type(error).__name__}: {error}"})


asyncio.run(main(sys.argv[1]))
