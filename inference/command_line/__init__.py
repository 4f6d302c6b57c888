"""What every command here does with its arguments: one-line errors, flags, exit codes."""

from inference.command_line.mistakes import exit_code
from inference.command_line.parser import OneLineParser, parser_of, with_flags, without_quiet

__all__ = ["OneLineParser", "exit_code", "parser_of", "with_flags", "without_quiet"]
