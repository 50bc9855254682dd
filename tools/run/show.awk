# What a person sees of a stage: its log (which keeps every line) without Caffe's own set-up lines.
# A validation is one line, iterations come a tenth of the training apart, as do lines of a validation that takes long, and
# of a command that says more than MOST lines the first and the last ones are shown.
# With -v live=1 counts such as "augmenting: 120/800, 12 s, 10/s" become one line that moves, with a bar where the end is
# known; Caffe's iterations and the batches of a validation too.
BEGIN { MOST = 12; FIRST = 8 }
function status(text) { printf "\r\033[K%s", text; open = 1; fflush() }
function line(text) { if (open) printf "\r\033[K"; open = 0; print text; fflush() }
function bar(done, all,    i, s) {
    for (i = 0; i < 24; i++) s = s (i < 24 * done / all ? "━" : "─")
    return s
}
function clock(s) { return sprintf("%d:%02d:%02d", s / 3600, s / 60 % 60, s % 60) }

# one of the lines that a command says: the first are shown at once, those behind are held until the command ends
function say(text) {
    if (++said <= FIRST) line(text)
    else {
        held[said] = text
        delete held[said - (MOST - FIRST)]
        if (live && said > MOST) status(text)
    }
}
function let_go(    i, from) {
    from = said > MOST ? said - 1 : FIRST + 1 # the last two, or all
    if (said > MOST) line("... " (said - FIRST - 2) " more lines, all in the log")
    for (i = from; i <= said; i++) line(held[i])
    said = 0
}
function end_validation() {
    if (validated != "") line("Iteration " tested ", validation:" validated)
    validated = ""
}

match($0, /max_iter: [0-9]+/) { max_iter = substr($0, RSTART + 10, RLENGTH - 10) }

/: [0-9]+(\/[0-9]+)?( MB)?, [0-9]+ s, / {
    if (live) {
        match($0, /: [0-9]+(\/[0-9]+)?( MB)?, [0-9]+ s, /)
        split(substr($0, RSTART + 2), counts, /[\/ ,]/)
        status((counts[2] > 0 ? bar(counts[1], counts[2]) " " : "") $0)
    } else line($0)
    next
}

# libjpeg and libpng complain without saying of which file; the programs name those that can't be read
/^(Corrupt JPEG data|Premature end of JPEG file|Invalid SOS parameters|Warning: unknown JFIF|Unknown Adobe color)/ { next }
/^libpng (warning|error): / { next }

/^ +@ +0x/ || /^\*\*\* Check failure stack trace/ || /^\*\*\* Aborted at/ || /^PC: @/ { next }
/^Corrupt JPEG data: / { next } # libjpeg's, which names no file: who reads the picture says which is broken
/^[IWEF][0-9]+ / { dump = /from parameters:/ }
dump { next }
/^\$ / { end_validation(); let_go(); line($0); next }

# glog: a letter for the severity, date, time, thread, place, then the text
/^[IWEF][0-9]+ [0-9:.]+ +[0-9]+ [^ ]+:[0-9]+\]/ {
    severity = substr($0, 1, 1)
    text = $0
    sub(/^[^\]]*\] */, "", text)
    if (match(text, /^Iteration [0-9]+, Testing net/)) {
        end_validation()
        tested = text; gsub(/^Iteration |,.*/, "", tested)
        tested_batches = 0
    } else if (match(text, /^Tested [0-9]+ of [0-9]+ batches/)) {
        split(text, words, " ")
        text = sprintf("validation at %d: %d/%d batches", tested, words[2], words[4])
        if (live) status(bar(words[2], words[4]) " " text)
        else if (tested_batches == 0 || words[2] >= tested_batches + words[4] / 10) {
            tested_batches = words[2]
            line(text)
        }
    } else if (text ~ /^Test net output #/) {
        sub(/^Test net output #[0-9]+: /, "", text); sub(/ \(\* .*/, "", text); sub(/ = /, " ", text)
        validated = validated (validated == "" ? " " : ", ") text
    } else if (match(text, /^Iteration [0-9]+ \([-0-9.e+]+ iter\/s/)) {
        end_validation()
        split(text, words, /[ (]+/)
        loss = text; sub(/.*loss = /, "", loss)
        if (live && max_iter > 0 && words[3] > 0) {
            status(sprintf("%s training: %d/%d, loss %s, %s left", bar(words[2], max_iter), words[2], max_iter, loss,
                           clock((max_iter - words[2]) / words[3])))
        } else if (words[2] == 0 || words[2] >= shown + max_iter / 10 || words[2] < shown) {
            shown = words[2]
            line(words[2] == 0 ? "Iteration 0, loss = " loss : text)
        }
    } else if (text ~ /^Snapshotting to binary/ || severity != "I") {
        end_validation()
        line(text)
    }
    next
}

{ end_validation(); say($0) }
END { end_validation(); let_go(); if (open) printf "\n" }
