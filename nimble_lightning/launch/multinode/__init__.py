"""One run on several machines: the same command on each of them, all working in one shared run folder.

Before every attempt the machines meet at `launch.rdzv_endpoint` (`rendezvous`). One of them leads: it has the
run's lock, keeps its record and decides what follows, as the supervisor of a run on one machine does
(`leading`). The others start their workers when told to, tell how they went, and do what is decided
(`following`). One that is lost is missed (`talk`), and the rest meet again, with or without it.
"""
