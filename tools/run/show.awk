# What a person sees of a stage: its log (which keeps every line) without Caffe's own set-up lines.
# With -v live=1 counts such as "augmenting: 120/800, 12 s, 10/s" become one line that moves, with a bar where the end is
# known; Caffe's iterations too.
function status(text) { printf "\r\033[K%s", text; open = 1; fflush() }
function line(text) { if (open) printf "\r\033[K"; open = 0; print text; fflush() }
function bar(done, all,    i, s) {
    for (i = 0; i < 24; i++) s = s (i < 24 * done / all ? "━" : "─")
    return s
}
function clock(s) { return sprintf("%d:%02d:%02d", s / 3600, s / 60 % 60, s % 60) }

match($0, /max_iter: [0-9]+/) { max_iter = substr($0, RSTART + 10, RLENGTH - 10) }

live && match($0, /: [0-9]+(\/[0-9]+)?( MB)?, [0-9]+ s, /) {
    split(substr($0, RSTART + 2), counts, /[\/ ,]/)
    status((counts[2] > 0 ? bar(counts[1], counts[2]) " " : "") $0)
    next
}

# libjpeg and libpng complain without saying of which file; the programs name those that can't be read
/^(Corrupt JPEG data|Premature end of JPEG file|Invalid SOS parameters|Warning: unknown JFIF|Unknown Adobe color)/ { next }
/^libpng (warning|error): / { next }

/^ +@ +0x/ || /^\*\*\* Check failure stack trace/ || /^\*\*\* Aborted at/ || /^PC: @/ { next }
/^[IWEF][0-9]+ / { dump = /from parameters:/ }
dump { next }

# glog: a letter for the severity, date, time, thread, place, then the text
/^[IWEF][0-9]+ [0-9:.]+ +[0-9]+ [^ ]+:[0-9]+\]/ {
    severity = substr($0, 1, 1)
    text = $0
    sub(/^[^\]]*\] */, "", text)
    if (match(text, /^Iteration [0-9]+ \([0-9.e+-]+ iter\/s/)) {
        split(text, words, /[ (]+/)
        if (live && max_iter > 0 && words[3] > 0) {
            loss = text; sub(/.*loss = /, "", loss)
            status(sprintf("%s training: %d/%d, loss %s, %s left", bar(words[2], max_iter), words[2], max_iter, loss,
                           clock((max_iter - words[2]) / words[3])))
        } else line(text)
    } else if (text ~ /^Test net output|^Snapshotting to binary|^Optimization Done/ || severity != "I") line(text)
    next
}

{ line($0) }
END { if (open) printf "\n" }
