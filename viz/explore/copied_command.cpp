#include "viz/explore/copied_command.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "viz/explore/batch.h"
#include "viz/explore/look_text.h"

namespace espalier::viz {
namespace {

std::string listed(const Numbers& numbers) {
  std::vector<std::string> parts;
  for (const auto& [name, value] : numbers) parts.push_back(fmt::format("{}={}", name, value));
  return core::join(parts, ",");
}

/// A device as a command line names it; where it was only measured here, why not.
std::string device_spec(const Side& side, const Given& given, std::string& why_not) {
  const auto from = given.device_specs.find(side.device);
  const std::string base = from == given.device_specs.end() ? side.device : from->second;
  if (base == "host") {
    why_not =
        "No command says this: the device is this machine as it was measured when the window opened. `espalier "
        "calibrate --device host -o host.json` keeps such a device, and --device host.json names it.";
  }
  return side.device_fields.empty() ? base : fmt::format("{}:{}", base, listed(side.device_fields));
}

/// " --model llama3-8b --dtype fp8_e4m3".
std::string heads_options(const Settings& settings, std::string& why_not) {
  const std::string text = traces::heads_text(settings.heads);
  traces::HeadConfig read = traces::parse_heads(text);
  std::string options =
      settings.model.empty() ? fmt::format(" --heads {}", text) : fmt::format(" --model {}", settings.model);
  read.kv_dtype = settings.heads.kv_dtype;
  if (settings.heads.kv_dtype != traces::Dtype::bf16) {
    options += fmt::format(" --dtype {}", traces::dtype_name(settings.heads.kv_dtype));
    if (settings.heads.kv_dtype != traces::Dtype::fp8_e4m3) read.q_dtype = settings.heads.kv_dtype;
  }
  if (!(read == settings.heads)) {
    why_not = "No command says this: these heads have parts that --heads and --dtype don't name.";
  }
  return options;
}

std::string family_options(const Settings& settings) {
  return fmt::format(" --family {} --seed {}", core::shell_quoted(family_spec(settings)), settings.seed);
}

/// Whether arguments name one file of forests, of which --snapshot can take one.
bool names_one_file(const std::string& source) {
  if (!source.starts_with("--forest ")) return false;
  const auto also = [&](const char* option) { return source.find(option) != std::string::npos; };
  return !also(" --forest ") && !also(" --tree ") && !also(" --suite ") && !also(" --block-table ") &&
         !also(" --family ") && !also(" --trace ") && !also(" --snapshot ");
}

std::string seed_option(const Settings& settings) {
  return settings.seed == Settings{}.seed ? "" : fmt::format(" --seed {}", settings.seed);
}

/// Why `espalier plan` can't make the plan of a side, which has no options for all that can be done here; empty where
/// it can.
std::string beyond_plan(const Settings& settings, SideId id, const Given& given) {
  const Side& side = settings.side(id);
  const auto no = [](const std::string& why) {
    return fmt::format(
        "`espalier plan` can't make this plan: {}. \"Export / Plan\" writes it, \"Views / Copy its command\" opens "
        "this view again.",
        why);
  };
  if (id == SideId::a && settings.given_plan) return no("it was read from a file");
  if (!side.edits.empty()) return no("it was changed by hand");
  if (side.query_tile > 0) return no("it is made of kernels of one tile alone");
  if (replays_trace(settings, given)) return no("its batch is one step of a trace");
  if (settings.decode_step > 0) return no("its requests have decoded tokens since");
  if (settings.running > 0) return no("its batch is a part of one");
  if (settings.family.empty() && given.plan_source.empty()) return no("it can't read this batch again");
  return "";
}

}  // namespace

std::string strategy_spec(const Side& side) {
  return side.options.empty() ? side.strategy : fmt::format("{}:{}", side.strategy, listed(side.options));
}

CopiedCommand plan_command_of(const Settings& settings, SideId id, const Given& given) {
  const Side& side = settings.side(id);
  std::string why_not = beyond_plan(settings, id, given);
  if (!why_not.empty()) return {"", why_not};
  std::string command = "espalier plan";
  if (!settings.family.empty()) {
    command += family_options(settings);
  } else {
    command += " " + given.plan_source;
    if (given.forests.size() > 1) {
      if (!names_one_file(given.plan_source)) {
        return {"", "`espalier plan` takes one batch, and this one is one of several inputs'."};
      }
      const std::string& name = given.forests[static_cast<std::size_t>(settings.snapshot)]->name;
      const std::size_t hash = name.rfind('#');
      if (hash == std::string::npos || !core::parse_integer(name.substr(hash + 1))) {
        return {"", "`espalier plan` takes one batch, and nothing names this one of several."};
      }
      command += fmt::format(" --snapshot {}", name.substr(hash + 1));
    }
    command += seed_option(settings);
  }
  command += heads_options(settings, why_not);
  command += fmt::format(" --device {} --strategy {}", core::shell_quoted(device_spec(side, given, why_not)),
                         core::shell_quoted(strategy_spec(side)));
  if (!side.cost_model.empty()) command += fmt::format(" --cost-model {}", core::shell_quoted(side.cost_model));
  if (side.kernels == scheduler::KernelSet::published) command += " --kernels published";
  if (!why_not.empty()) return {"", why_not};
  return {command + " -o plan.json", ""};
}

CopiedCommand view_command_of(const Session& session) {
  const Settings& settings = session.settings;
  const Given& given = session.given;
  std::string why_not, command = "espalier view";
  if (!settings.family.empty()) {
    command += family_options(settings);
  } else if (given.source.empty()) {
    why_not = "No command says this: the batch was read from standard input, which can't be read again.";
  } else {
    command += " " + given.source + seed_option(settings);
  }
  if (shows_measurement(settings, given)) {
    command += fmt::format(" --measured {}", core::shell_quoted(given.measured_source));
  }
  if (!settings.given_plan) {  // a plan has its own heads
    command += heads_options(settings, why_not);
    command +=
        fmt::format(" --strategy {}", core::shell_quoted(strategy_spec(settings.a) + "," + strategy_spec(settings.b)));
  }
  const std::string a = device_spec(settings.a, given, why_not), b = device_spec(settings.b, given, why_not);
  command += fmt::format(" --device {}", core::shell_quoted(a));
  if (a != b && !shows_measurement(settings, given)) command += fmt::format(" --device {}", core::shell_quoted(b));
  if (!why_not.empty()) return {"", why_not};
  const std::string look = look_text(session);
  return {look.empty() ? command : fmt::format("{} --look {}", command, core::shell_quoted(look)), ""};
}

}  // namespace espalier::viz
