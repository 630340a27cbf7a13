# shellcheck shell=bash disable=SC2154
# In a guest: boots another guest inside it under KVM and forwards the inner guest's report as a subtest. nested.py adds
# lines before these that set `qemu`, the command line without the TAP port, and `limit`, in seconds.
folder=$(mktemp -d)
mkfifo "$folder/port.in" "$folder/port.out"
exec 4<>"$folder/port.in" 5<>"$folder/port.out" # open for reading and writing: so no open() waits for the other side

{
    timeout -k 5 "$limit" "${qemu[@]}" -display none -no-reboot -serial stdio -device virtio-serial-pci \
        -chardev "pipe,id=tap,path=$folder/port" -device virtserialport,chardev=tap,name=TAP_PORT \
        </dev/null 2>"$folder/words"
    printf '\n# GONE %s\n' $? >&5
} | while IFS= read -r line || [ -n "$line" ]; do
    echo "nested: $line"
done >/dev/console &

echo 1..2
echo "# Subtest: guest"
ended=
while IFS= read -r line <&5; do
    case $line in
        "# READY "*) echo "go $(head -c 32 /dev/urandom | xxd -p -c 32) $(date +%s) nested" >&4 ;;
        "# END") ended=yes && continue ;;
        "# GONE "*) status=${line#"# GONE "} && break ;;
    esac
    [ -z "$line" ] || printf '    %s\n' "$line"
done
if [ -n "$ended" ]; then echo "ok 1 - guest"; else echo "not ok 1 - guest"; fi
if [ "$status" = 0 ]; then echo "ok 2 - QEMU ends"; else echo "not ok 2 - QEMU ends"; fi
[ "$status" != 124 ] || echo "# the guest inside did not end within $limit s"
echo "# exit status $status"
sed 's/^/# QEMU: /' "$folder/words"
