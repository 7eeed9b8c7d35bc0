// The commands' names and options, as the parser of the command line takes them.
#pragma once

#include "apps/commands.h"

namespace CLI {
class App;
}  // namespace CLI

namespace espalier::apps {

/// Options of every command, filled by the parser.
struct Commands {
  ListCommand list;
  TraceCommand gen, import, info;
  PlanCommand plan;
  PlanFileCommand check, sim, run;
  ExportCommand exported;
  ViewCommand view;
  CompareCommand compare;
  CostTableCommand cost_table;
  TuneCommand tune;
  ValidateCommand validate;
  CalibrateCommand calibrate;
  MeasureCommand measure;
};

/// Every command. The one that is named runs as soon as all is parsed, and leaves its exit code in `code`.
void add_commands(CLI::App& app, Commands& c, int& code);

}  // namespace espalier::apps
