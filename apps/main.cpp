// espalier: parse the command line, call a command, print its error in one sentence, exit by the kind of the error.

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <new>
#include <string>

#include "apps/command_options.h"
#include "core/error.h"
#include "core/text.h"

namespace {

using namespace espalier;

/// The command that reproduces the rows: without what says only how fast, or where to.
std::string joined(int argc, char** argv) {
  std::string line = "espalier";
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    const auto is = [&](const std::string& option) { return arg == option || arg.starts_with(option + "="); };
    if (is("--jobs") || is("--json") || is("--html") || is("--perfetto") || is("--perfetto-row") || is("--baseline")) {
      if (arg.find('=') == std::string::npos) ++i;
      continue;
    }
    const bool plain = arg.find_first_of(" |'\"$*?;&<>()") == std::string::npos && !arg.empty();
    line += plain ? " " + arg : " '" + arg + "'";
  }
  return line;
}

int exit_code(core::ErrorKind kind) {
  switch (kind) {
    case core::ErrorKind::check_failed:
      return 1;
    case core::ErrorKind::usage:
      return 2;
    case core::ErrorKind::bad_input:
      return 3;
    case core::ErrorKind::no_device:
      return 4;
  }
  return 1;
}

int parse_and_run(int argc, char** argv) {
  CLI::App app{"Plans, simulates and checks decode attention over prefix-shared KV caches."};
  app.require_subcommand(1);
  app.set_version_flag("--version", "espalier " ESPALIER_VERSION);
  apps::Commands commands;
  commands.compare.command_line = commands.tune.command_line = joined(argc, argv);
  int code = 0;
  if (const std::string first = argc > 1 ? argv[1] : "-"; !first.starts_with('-')) {
    const std::vector<std::string> names = {"list", "trace",    "plan",      "check",   "sim",
                                            "run",  "export",   "view",      "compare", "cost-table",
                                            "tune", "validate", "calibrate", "measure"};
    if (std::find(names.begin(), names.end(), first) == names.end()) {
      throw core::usage_error(core::unknown_name("command", first, names));
    }
  }
  apps::add_commands(app, commands, code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // --help, --version
    const std::string sentence = e.what();
    fmt::print(stderr, "espalier: {}; see espalier --help\n", sentence.substr(0, sentence.find('\n')));
    return 2;
  }
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace espalier;
  try {
    const int code = parse_and_run(argc, argv);
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
      throw core::bad_input("stdout", "a writable stream", "an error");
    }
    return code;
  } catch (const espalier::core::Error& e) {
    fmt::print(stderr, "espalier: {}\n", e.what());
    return exit_code(e.kind());
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "espalier: this input needs more memory than the machine has\n");
    return 3;
  } catch (const std::exception& e) {
    fmt::print(stderr, "espalier: internal error, please report it: {}\n", e.what());
    return 70;
  }
}
