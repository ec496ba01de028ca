"""The attacks themselves, run inside the sandbox as text. Each prints what it achieved, then `end`."""

PRELUDE = """\
import ctypes, os, signal, socket, sys, time
out, data, *args = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
"""

NETWORK = """
for family, address in (
    (socket.AF_INET, ("127.0.0.1", int(args[0]))),
    (socket.AF_INET, ("192.0.2.1", 80)),
    (socket.AF_UNIX, "\\0" + args[1]),
    (40, (2, 1024)),
):
    try:
        with socket.socket(family, socket.SOCK_STREAM) as s:
            s.settimeout(1)
            s.connect(address)
        print("connected to", repr(address))
    except OSError as exc:
        if family == 40 and exc.errno not in (93, 97):
            print("vsock is open:", exc)
names = [line.split(":")[0].strip() for line in open("/proc/net/dev").read().splitlines()[2:]]
if any(name not in ("lo", "tunl0", "sit0", "gre0", "erspan0", "ip6tnl0", "gretap0", "ip_vti0", "ip6_vti0",
                    "ip6gre0") for name in names):
    print("interfaces:", names)
print("end")
"""

READING = """
secret, home, marker = args
for path in (secret, "/etc/shadow", "/proc/1/root" + secret, "/proc/kcore"):
    try:
        with open(path, "rb") as f:
            f.read(1)
        print("read", path)
    except OSError:
        pass
try:
    shown = [n for n in os.listdir(home) if n not in (".pyenv", ".local", ".venv", "miniconda3", "venv")]
    if shown and home not in ("/", "/tmp"):
        print("home shows", shown[:3])
except OSError:
    pass
for top in ("/", "/tmp", "/var", "/home", "/root", "/mnt", "/run", "/srv"):
    for folder, folders, files in os.walk(top):
        folders[:] = [] if folder.count("/") > 5 else [
            f for f in folders if os.path.join(folder, f) not in ("/proc", "/usr", "/sys", "/lib", "/lib64")]
        hit = [n for n in (*files, *folders) if marker in n]
        if hit:
            print("found", folder, hit[0])
        if top == "/" and folder.count("/") > 2:
            folders[:] = []
for entry in os.listdir("/proc/self/fd"):
    try:
        if int(entry) > 2 and os.path.isdir("/proc/self/fd/" + entry) and os.listdir("/proc/self/fd/" + entry):
            target = os.readlink("/proc/self/fd/" + entry)
            if not target.startswith("/proc"):
                print("inherited directory", target)
    except OSError:
        pass
print("end")
"""

ENVIRONMENT = """
print("\\n".join(os.environ))
for entry in os.listdir("/proc"):
    if entry.isdigit():
        try:
            raw = open(f"/proc/{entry}/environ", "rb").read()
        except OSError:
            continue
        print("\\n".join(v.split(b"=")[0].decode() for v in raw.split(b"\\0") if b"=" in v))
print("end")
"""

PATCHING = """
own = {os.getpid(), os.getppid(), 1}
for entry in os.listdir("/proc"):
    if not entry.isdigit() or int(entry) == os.getpid():
        continue
    if int(entry) not in own:
        print("sees process", entry)
    for name in ("mem", "maps", "environ"):
        try:
            mode = os.O_RDWR if name == "mem" else os.O_RDONLY
            fd = os.open(f"/proc/{entry}/{name}", mode)
            data = os.read(fd, 1) if name != "mem" else b"x"
            os.close(fd)
            if data and int(entry) != 1:
                print("opened", name, "of", entry)
            elif data and name == "mem":
                print("opened mem of", entry)
        except OSError:
            pass
zygote = int(args[0])
if zygote != os.getpid() and libc.ptrace(0x4206, zygote, 0, 0) == 0:  # seize: does not stop it
    print("attached to", zygote)
for line in open("/proc/self/maps"):
    rights = line.split()[1]
    if rights[1] == "w" and rights[3] == "s" and "/dev/zero" not in line:
        print("shared writable memory", line.strip())
print("end")
"""

ESCALATING = """
for line in open("/proc/self/status"):
    name, _, value = line.partition(":")
    if name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb") and int(value, 16):
        print(name, value.strip())
    if name == "NoNewPrivs" and value.strip() != "1":
        print("new privileges are possible")
if libc.unshare(0x10000000) == 0:
    print("made a user namespace")
if libc.mount(b"none", out.encode(), b"tmpfs", 0, None) == 0:
    print("mounted")
    libc.umount2(out.encode(), 2)
for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/proc/sysrq-trigger"):
    try:
        os.close(os.open(path, os.O_WRONLY))
        print("may write", path)
    except OSError:
        pass
try:
    import resource
    resource.prlimit(1 if os.getpid() != 1 else os.getppid() or 2, resource.RLIMIT_CPU)
    if os.getpid() != 1:
        print("may look at the limits of process 1")
except (OSError, ValueError):
    pass
print("end")
"""

KILLING = """
try:
    os.kill(int(args[0]), signal.SIGKILL)
except OSError:
    pass
print("end")
"""

DAEMON = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        libc.prctl(1, 0, 0, 0, 0)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.closerange(0, 1024)
        os.execvp("sleep", ["sleep", args[0]])
    os._exit(0)
os.wait()
time.sleep(0.1)
print("started")
"""

FORKING = """
made = 0
for _ in range(int(args[0])):
    try:
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
        made += 1
    except OSError:
        break
time.sleep(0.2)
print(made, flush=True)
os._exit(0)
"""

DISK = """
import tempfile
block = b"x" * (1 << 20)
for place in (out, tempfile.gettempdir(), "/dev/shm" if os.getpid() == 1 else out):
    path = os.path.join(place, "fill")
    with open(path, "wb") as f:
        os.unlink(path) if os.getpid() < 3 else None
        for i in range(4):
            f.write(block)
            f.flush()
        globals()["keep" + str(len(globals()))] = os.dup(f.fileno())
print("wrote 12 MB", flush=True)
time.sleep(0.3)
"""

INODES = """
for i in range(400):
    open(os.path.join(out, str(i)), "w").close()
time.sleep(0.3)
"""

MEMORY = """
import multiprocessing
def fill(n):
    block = bytearray(n)
    block[::4096] = b"x" * len(block[::4096])
    time.sleep(1.5)
children = [multiprocessing.get_context("fork").Process(target=fill, args=(150 << 20,)) for _ in range(2)]
for child in children:
    child.start()
for child in children:
    child.join()
sys.exit(max(abs(child.exitcode) for child in children))
"""

OUTPUT = """
block = "x" * (1 << 20)
for _ in range(int(args[0])):
    sys.stdout.write(block)
"""

SYMLINK = """
os.symlink(args[0], os.path.join(out, "submission.csv"))
os.mkfifo(os.path.join(out, "fifo"))
try:
    os.link(args[0], os.path.join(out, "hard.csv"))
except OSError:
    pass
"""

WRITING = """
name = "dojo-probe-" + args[0]
for place in ("/", "/usr", "/usr/lib", "/etc", "/dev", "/proc", data, sys.prefix, args[1], "/var/tmp", "/run"):
    if place.startswith("/tmp/") and place != args[1]:
        continue  # an interpreter below /tmp: what is around it there is the box's own, private /tmp
    path = os.path.join(place, name)
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        os.unlink(path)
        print("wrote in", place)
    except OSError:
        pass
try:
    os.close(os.open(os.path.join(data, "train.csv"), os.O_WRONLY))
    print("may write the data")
except OSError:
    pass
print("end")
"""
