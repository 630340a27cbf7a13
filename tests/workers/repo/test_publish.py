"""Publishing: what users see before, after, and again."""

from __future__ import annotations

from pathlib import Path

from config.models import Site
from tests.workers.repo.conftest import BuildFactory
from workers.repo.publish import publish


def test_it(site: Site, state: Path, make_build: BuildFactory) -> None:
    import time
    b=make_build()
    t=time.process_time(); r=publish(site,state,"aarch64",str(b)); print(time.process_time()-t, r.model_dump_json(indent=1))
    import os; os.system(f"cd {state}/published; find . | sort; cat .snapshots/*/snapshot.json; ls -la . ; cat .snapshots/*/.records/*/*")
    t=time.time(); r=publish(site,state,"aarch64",str(b)); print(time.time()-t, r.summary)
    t=time.time(); r=publish(site,state,"aarch64",str(make_build(version="2"))); print(time.time()-t, r.summary)
    os.system(f"cd {state}/published; find 10-kitten/ | sort; cat .snapshots/0002/snapshot.json; ls -la . ; ")
    from workers.repo.client import install
    t=time.time(); print(install(site,state,"aarch64")); print(time.time()-t)
    t=time.time(); r=publish(site,state,"x86_64_v2",str(make_build("x86_64_v2"))); print(time.time()-t, r.summary)
    t=time.time(); print(install(site,state,"x86_64_v2")); print(time.time()-t)
    from workers.repo.rollback import rollback
    t=time.time(); print(rollback(site,state,1)); print(time.time()-t)
