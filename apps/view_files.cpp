#include "apps/view_files.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/file.h"
#include "core/text.h"
#include "scheduler/host_form.h"
#include "traces/import.h"

namespace espalier::apps {
namespace {

using viz::Session;

bool begins_with_schema(std::string_view text, std::string_view schema) {
  constexpr std::size_t kHead = 200;
  return text.substr(0, kHead).find(schema) != std::string_view::npos;
}

/// Lines of requests have no schema: their first says what it is by its keys.
bool is_trace(std::string_view text) {
  return text.substr(0, text.find('\n')).find("\"hash_ids\"") != std::string_view::npos;
}

/// Side A shows the plan, its controls what is known of it.
void show_plan(Session& session, const scheduler::Plan& plan) {
  session.settings.heads = plan.heads;
  session.settings.model.clear();
  const auto& all = scheduler::strategies();
  const auto same = [&](const scheduler::Strategy* s) { return s->info().name == plan.provenance.strategy; };
  if (std::any_of(all.begin(), all.end(), same) && session.settings.a.strategy != plan.provenance.strategy) {
    session.settings.a.strategy = plan.provenance.strategy;
    session.settings.a.options.clear();
  }
  session.settings.given_plan = true;
}

}  // namespace

void give_forest(viz::Given& given, traces::PrefixForest forest) {
  given.forests.push_back(std::make_shared<const traces::PrefixForest>(std::move(forest)));
}

/// Runs of one plan; times of a device, which are called alike, get a sentence.
bool is_measurement(std::string_view text) {
  return begins_with_schema(text, "\"run/") || begins_with_schema(text, "\"measurement/");
}

/// What ran on this machine's cores is simulated in the form in which they run it.
MeasuredRun read_run(const Session& session, const std::string& text, const std::string& file) {
  const std::shared_ptr<const scheduler::Plan>& plan = session.given.opened_plan;
  if (plan == nullptr) {
    throw core::usage_error(fmt::format("{} is a measurement: open the plan that was measured first", file));
  }
  auto measurement = std::make_shared<scheduler::Measurement>(scheduler::read_measurement(text, file, *plan));
  if (measurement->timeline.spans.empty()) {
    throw core::bad_input(file, "a measurement with a timeline, as run --backend host writes it", "none");
  }
  MeasuredRun run{file, nullptr, plan, plan};
  if (measurement->backend == "host") {
    run.as_run = std::make_shared<const scheduler::Plan>(scheduler::as_host_plan(*plan));
  }
  measurement->timeline.plan_hash = run.as_run->hash;
  run.measurement = std::move(measurement);
  return run;
}

void join_run(Session& session, const MeasuredRun& run) {
  viz::Given& given = session.given;
  if (given.opened_plan != run.of) {
    throw core::usage_error(fmt::format("{} was read for a plan that is no longer open: open it again", run.file));
  }
  if (run.measurement->backend == "host" && !viz::device_of(session.settings.a, given).is_cpu()) {
    throw core::usage_error(fmt::format(
        "{} was measured on this machine's cores: give --device host, or the file that calibrate wrote for them",
        run.file));
  }
  given.plan = run.as_run;
  given.measurement = run.measurement;
  given.measured_source = run.file;
  if (std::find(given.files.begin(), given.files.end(), run.file) == given.files.end()) given.files.push_back(run.file);
  if (!session.settings.given_plan) show_plan(session, *given.plan);
  session.settings.measured = session.settings.compare = true;
}

/// A plan, a block table, a trace, or forests: whatever the file says it is. A measurement joins the plan that is
/// there.
void open_in_view(Session& session, const std::string& file) {
  const std::string text = core::read_file(file);
  const auto readable = [&](const char* option) {
    return file == "-" ? std::string() : fmt::format("{} {}", option, core::shell_quoted(file));
  };
  if (is_measurement(text)) return join_run(session, read_run(session, text, file));
  if (begins_with_schema(text, "\"plan/")) {
    scheduler::Plan plan = scheduler::read_plan(text, file);
    show_plan(session, plan);
    session.settings.a.device = plan.provenance.device;
    give_forest(session.given, plan.forest);
    session.given.opened_plan = session.given.plan = std::make_shared<const scheduler::Plan>(std::move(plan));
  } else if (begins_with_schema(text, "\"block_table/")) {
    give_forest(session.given, traces::read_block_table(text, file));
    session.given.plan_source = readable("--block-table");
  } else if (is_trace(text)) {
    session.given.trace = std::make_shared<const traces::Trace>(traces::read_mooncake(text, file));
    session.given.replay.running =
        std::min(session.given.replay.running, static_cast<std::int32_t>(session.given.trace->requests.size()));
    (void)traces::schedule_replay(*session.given.trace, session.given.replay);  // says what is wrong with it
  } else {
    for (traces::PrefixForest& forest : traces::read_forests(text, file, {})) {
      give_forest(session.given, std::move(forest));
    }
    session.given.plan_source = readable("--forest");
    if (session.given.forests.empty()) throw core::bad_input(file, "at least one forest", "none");
  }
  session.settings.family.clear();
  if (file != "-") session.given.files.push_back(file);
  session.given.source = file == "-" ? "" : core::shell_quoted(file);
}

}  // namespace espalier::apps
