#!/bin/sh
# timed: runs the driver of a test, and adds to the .trs file that it writes how many seconds it took.
began=$(date +%s)
"$@"
status=$?
trs='' before=''
for word; do
	[ "$before" != --trs-file ] || trs=$word
	before=$word
done
[ ! -f "$trs" ] || echo ":seconds: $(($(date +%s) - began))" >>"$trs"
exit $status
