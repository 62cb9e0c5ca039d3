"""A SCIM endpoint judged by scim2-tester: every check of every resource type, none left out."""

import httpx2
from chapter import FACTS, check
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_tester import Status, check_server


def main():
    http = httpx2.Client(base_url=FACTS["scim_url"], headers={"authorization": f"Bearer {FACTS['token']}"}, timeout=30)
    results = check_server(SyncSCIMClient(http))
    # Each name stands once: what is repeated for an attribute or a method is counted, not listed.
    titles = {}
    for result in results:
        titles.setdefault((result.resource_type, result.title), []).append(result)
    for (kind, title), found in sorted(titles.items(), key=str):
        bad = [(each.status.name, each.reason, repr(each.data)[:600]) for each in found if each.status != Status.SUCCESS]
        check(f"{kind or 'server'}: {title} ({len(found)})", not bad, *bad[:5])
    check("enough was checked", len(results) > 120, len(results))
    kinds = {result.resource_type for result in results}
    check("users and groups", {"User", "Group"} <= kinds, kinds)


main()
