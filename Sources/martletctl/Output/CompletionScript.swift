/// Scripts that make shells complete: each asks `martletctl __complete` (see `Completion`).
enum CompletionScript {
  private static func request(describes: Bool) -> String {
    describes ? "__complete" : "__completeNoDesc"
  }

  /// bash 4 or later; no package of completions is needed.
  static func bash(describes: Bool) -> String {
    #"""
    # bash completion for martletctl; put it in /etc/bash_completion.d or source it.
    _martletctl() {
      # bash cuts words at = and :, so they are put together again: what follows no blank goes on.
      local line="${COMP_LINE:0:COMP_POINT}" word words=() i
      for ((i = 0; i <= COMP_CWORD; i++)); do
        word="${COMP_WORDS[i]}"
        if [[ $i == 0 || $line == [[:space:]]* ]]; then
          line="${line#"${line%%[![:space:]]*}"}"
          words+=("")
        fi
        ((i < COMP_CWORD)) || word="$line"
        words[-1]+="$word"
        line="${line#"$word"}"
      done
      local lines=() directive current="${COMP_WORDS[COMP_CWORD]}"
      mapfile -t lines < <("${words[0]}" \#(request(describes: describes)) "${words[@]:1}" 2>/dev/null)
      ((${#lines[@]})) || return
      directive="${lines[-1]#:}"
      unset 'lines[-1]'
      COMPREPLY=()
      if ((${#lines[@]} == 0)); then
        ((directive & 4)) || compopt -o default
      elif ((COMP_TYPE == 63 && ${#lines[@]} > 1)); then
        # A list for people: descriptions too.
        for line in "${lines[@]}"; do
          IFS=$'\t' read -r word line <<<"$line"
          printf -v word '%-26s%s' "$word" "${line:+($line)}"
          COMPREPLY+=("$word")
        done
      else
        COMPREPLY=("${lines[@]%%$'\t'*}")
      fi
    }
    complete -F _martletctl martletctl

    """#
  }

  static func zsh(describes: Bool) -> String {
    #"""
    #compdef martletctl
    _martletctl() {
      local -a lines entries
      local directive
      lines=("${(@f)$("${(Q)words[1]}" \#(request(describes: describes)) "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
      directive="${lines[-1]#:}"
      lines[-1]=()
      # In an entry a colon is what a tab is in an answer.
      entries=("${(@)${(@)lines//:/\\:}/$'\t'/:}")
      # A value behind = is completed alone.
      [[ "${words[CURRENT]}" == -*=* ]] && compset -P '*='
      if ((${#entries})); then
        _describe -t words 'martletctl' entries
      elif ! ((directive & 4)); then
        _files
      fi
    }
    if [[ "${funcstack[1]}" == _martletctl ]]; then _martletctl "$@"; else compdef _martletctl martletctl; fi

    """#
  }

  static func fish(describes: Bool) -> String {
    #"""
    # fish completion for martletctl; put it in ~/.config/fish/completions or source it.
    function __martletctl_candidates
        set -l words (commandline -opc)
        set -l current (commandline -ct)
        set -l lines ($words[1] \#(request(describes: describes)) $words[2..-1] "$current" 2>/dev/null)
        # A value behind = is completed with its flag.
        set -l flag (string match -r -- '^-[^=]*=' "$current")
        for line in $lines[1..-2]
            printf '%s%s\n' "$flag" "$line"
        end
        if test "$lines" = :0
            __fish_complete_path "$current"
        end
    end
    complete -c martletctl -e
    complete -c martletctl -f -a '(__martletctl_candidates)'

    """#
  }

  /// PowerShell 5.1 or later.
  static func powershell(describes: Bool) -> String {
    #"""
    # powershell completion for martletctl; add it to the file that $PROFILE names.
    Register-ArgumentCompleter -Native -CommandName 'martletctl' -ScriptBlock {
        param($wordToComplete, $commandAst, $cursorPosition)

        # The words before the cursor, and the part of a word that it stands behind.
        $words = @()
        $current = ''
        foreach ($element in ($commandAst.CommandElements | Select-Object -Skip 1)) {
            $extent = $element.Extent
            if ($extent.StartOffset -ge $cursorPosition) { break }
            if ($extent.EndOffset -ge $cursorPosition) {
                $current = $extent.Text.Substring(0, $cursorPosition - $extent.StartOffset)
            } else {
                $words += $extent.Text.Trim('"', "'")
            }
        }
        # Older versions leave an empty argument out.
        $last = if ($current -eq '') { '""' } else { $current }
        $program = $commandAst.CommandElements[0].Extent.Text.Trim('"', "'")
        $lines = @(& $program \#(request(describes: describes)) @words $last 2>$null)
        if ($lines.Count -eq 0) { return }
        $directive = [int]$lines[-1].TrimStart(':')
        $candidates = @($lines | Select-Object -SkipLast 1)

        # A value behind = is completed with its flag.
        $flag = if ($current -match '^-[^=]*=') { $Matches[0] } else { '' }
        foreach ($candidate in $candidates) {
            $name, $help = $candidate -split "`t", 2
            # A tool tip must not be empty.
            if (-not $help) { $help = $name }
            [System.Management.Automation.CompletionResult]::new(
                $flag + $name, $name, 'ParameterValue', $help)
        }
        # Without any result PowerShell completes names of files.
        if ($candidates.Count -eq 0 -and ($directive -band 4)) { '' }
    }

    """#
  }
}
