// script/gpu as far as it goes without a GPU: what it says of a machine that has none, that a run that is cut off
// leaves a folder to read, and what it makes of a device, played by a shell script, that answers wrongly or not at all.
#include <gmock/gmock.h>

#include <filesystem>
#include <string>

#include "command.h"

namespace {

using testing::HasSubstr;
using testing::Not;

class GpuScript : public espalier::apps::CommandTest {
 protected:
  Result script(const std::string& environment, const std::string& command = ESPALIER_BINARY_DIR "/espalier") const {
    const std::string line = "cd '" + folder_.string() + "' && ESPALIER='" + command + "' " + environment +
                             " '" ESPALIER_SOURCE_DIR "/script/gpu' out >stdout.txt 2>stderr.txt";
    const int status = std::system(line.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), read("stdout.txt"), read("stderr.txt")};
  }
};

TEST_F(GpuScript, SaysThereIsNoDeviceAndLeavesNothing) {
  const Result result = script("");
  EXPECT_EQ(result.code, 4) << result.err;
  EXPECT_THAT(result.err, HasSubstr("CUDA"));
  EXPECT_FALSE(exists("out"));
}

TEST_F(GpuScript, DryRunsOutOfTimeForChecksTimeNothing) {
  // However fast the machine: one of the parts takes all the time there is.
  write("slow", "#!/bin/sh\ncase \"$*\" in *check-queues-128-rows-plain*) sleep 7 ;; esac\nexec '" ESPALIER_BINARY_DIR
                "/espalier' \"$@\"\n");
  std::filesystem::permissions(folder_ / "slow", std::filesystem::perms::owner_all);
  const Result result = script("ESPALIER_GPU_DRY=h100-sxm ESPALIER_GPU_SECONDS=6", "./slow");
  EXPECT_EQ(result.code, 1);
  EXPECT_THAT(result.err, HasSubstr("not everything was checked in 6 s"));
  const std::string summary = read("out/summary.md");
  EXPECT_THAT(summary, HasSubstr("# h100-sxm (nothing ran: predictions)"));
  EXPECT_THAT(summary, HasSubstr("* check-8-2-128-plain:"));
  EXPECT_THAT(summary, HasSubstr("## Not checked: out of time\n\n* check-"));
  EXPECT_THAT(summary, HasSubstr("\n* check-fp8\n"));
  EXPECT_THAT(summary, HasSubstr("## Not reached, or ended early"));
  EXPECT_TRUE(exists("out/check-8-2-128-plain/results.csv"));
  EXPECT_FALSE(exists("out/time-32-8-shapes"));
}

/// A device on which all is well but what the test says: lines of shell with the command's words in $all, which may set
/// a row's status, path and us.
class PlayedDevice : public GpuScript {
 protected:
  Result on(const std::string& behaviour, const std::string& environment = "") const {
    write_program("played", R"sh(#!/bin/bash
all=" $* "
echo "$all" >>calls.txt
status=ok us=10.0 path=plain out=
while [ $# -gt 0 ]; do
  case $1 in
    -o) out=$2 ;;
    --json) json=$2 ;;
    --kernel-path) path=$2 ;;
  esac
  shift
done
case $all in *-clusters*) path=$path+clusters ;; esac
)sh" + behaviour + R"sh(
case $all in
  " list strategies "*) echo espalier ;;
  " plan "*) echo plan >"$out" ;;
  " run "*) [ -z "$json" ] || echo '  "device": "Played H100",' >"$json" ;;
  " measure "*)
    mkdir -p "$out"
    { echo head
      echo "\"pat20/01\",32/8/128,\"espalier\",$status,$us,0.01,20,9,100,2,100,0.1,$path,\"\""; } >"$out/results.csv"
    echo '| a table |' >"$out/results.md"
    echo plan >"$out/pat20-01__32-8-128__espalier.json" ;;
  " list devices "* | " trace "*) ;;
  " sim "*) echo '  "hbm_bytes": 77,' ;;
  *) exit 1 ;;
esac
)sh");
    return script("PATH=\"$PWD:$PATH\" " + environment, "./played");
  }
  void write_program(const char* name, const std::string& text) const {
    write(name, text);
    std::filesystem::permissions(folder_ / name, std::filesystem::perms::owner_all);
  }
  void expect_untimed(const std::string& behaviour, const std::string& sentence) const {
    std::filesystem::remove_all(folder_ / "out");
    const Result result = on(behaviour);
    EXPECT_EQ(result.code, 1) << behaviour << result.err;
    EXPECT_THAT(result.err, HasSubstr(sentence)) << behaviour;
    EXPECT_THAT(read("out/summary.md"), HasSubstr("* " + sentence)) << behaviour;
    EXPECT_FALSE(exists("out/time-32-8-shapes")) << behaviour;
  }
};

TEST_F(PlayedDevice, IsTimedWhereAllChecksAreRight) {
  const Result result = on("");
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(read("out/summary.md"), HasSubstr("* check-8-2-128-bulk: 1 ok\n"));
  EXPECT_TRUE(exists("out/time-32-8-shapes/results.csv"));
  EXPECT_THAT(read("out/summary.md"), HasSubstr("| a table |\n\nKernel paths that ran: 1 on wgmma.\n"));
}

TEST_F(PlayedDevice, IsNotTimedWhereACheckIsNone) {
  expect_untimed("case $all in *check-fp16*) exit 139 ;; esac", "check-fp16: ended with 139");
  expect_untimed("case $all in *check-fp16*) exit 124 ;; esac", "check-fp16: did not end in time");
  expect_untimed("case $all in *\" run \"*--steps*plain*) exit 1 ;; esac", "check-steps-espalier-plain: ended with 1");
  expect_untimed("case $all in *check-fp8*) status=refused ;; esac", "check-fp8: no row is right");
  expect_untimed("case $all in *check-fp8*) status=skipped ;; esac", "check-fp8: rows were left out");
}

TEST_F(PlayedDevice, IsWithoutAPathOnlyWhereTheCommandSaysSo) {
  const Result result =
      on("case $all in *\" run \"*bulk*) echo 'espalier: --backend cuda: no bulk copies on it with this build' >&2; "
         "exit 1 ;; esac");
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_FALSE(exists("out/check-8-2-128-bulk"));
  EXPECT_THAT(read("out/summary.md"), HasSubstr("* --backend cuda: no bulk copies on it"));
  expect_untimed("case $all in *\" run \"*bulk*) echo 'espalier: an illegal address' >&2; exit 1 ;; esac",
                 "first plan on the path bulk: ended with 1");
}

TEST_F(PlayedDevice, IsTimedWithoutPathsThatAreLeftOut) {
  const std::string wrong = "case $all in *wgmma* | *-clusters*) exit 139 ;; esac";
  EXPECT_EQ(on(wrong, "ESPALIER_GPU_PATHS=bulk").code, 0);
  EXPECT_THAT(read("out/summary.md"), HasSubstr("* check-8-2-128-bulk: 1 ok\n"));
  EXPECT_THAT(read("out/summary.md"), HasSubstr("* path wgmma: not asked for\n"));
  EXPECT_TRUE(exists("out/time-32-8-shapes/results.csv"));
  EXPECT_THAT(read("calls.txt"), Not(HasSubstr("clusters")));
  expect_untimed(wrong, "first plan on the path wgmma: ended with 139");
}

TEST_F(PlayedDevice, IsNotTimedWhereNoRowOfACheckRanOnItsPath) {
  expect_untimed("case $all in *check-fp16-wgmma*) path=bulk ;; esac",
                 "check-fp16-wgmma: no row ran on the path wgmma");
  expect_untimed("case $all in *check-pages-1-bulk*) path=plain ;; esac",
                 "check-pages-1-bulk: no row ran on the path bulk");
  expect_untimed("case $all in *check-8-2-128-clusters*) path=bulk ;; esac",
                 "check-8-2-128-clusters: no row ran on the path clusters");
}

TEST_F(PlayedDevice, GoesOnWithTheFastestPath) {
  const std::string said = "## Kernel paths\n\n* bulk over plain: times ";
  EXPECT_EQ(on("case $all in *paths-bulk*) us=8 ;; *paths-wgmma*) us=6 path=wgmma+bulk ;; esac").code, 0);
  EXPECT_THAT(
      read("out/summary.md"),
      HasSubstr(said + "0.8000 of 1 plans (paths-plain, paths-bulk)\n* wgmma over bulk: times 0.7500 of 1 plans"));
  EXPECT_THAT(read("calls.txt"), HasSubstr("/time-32-8-shapes --suite pat20 --suite ft15 --suite s1 --suite s2 --suite "
                                           "s3 --suite s4 --kernel-path wgmma"));
  std::filesystem::remove_all(folder_ / "out");
  EXPECT_EQ(on("case $all in *paths-bulk*) us=12 ;; *paths-wgmma*) us=1 path=plain ;; esac").code, 0);
  EXPECT_THAT(read("out/summary.md"),
              HasSubstr(said + "1.2000 of 1 plans (paths-plain, paths-bulk)\n* wgmma over plain: times unknown"));
  EXPECT_THAT(read("out/summary.md"), HasSubstr("* What follows: plain\n"));
}

TEST_F(PlayedDevice, IsWrongWhereTheSanitizerFindsErrors) {
  const auto expect_wrong = [&](const std::string& runs, const std::string& sentence) {
    write_program("compute-sanitizer", "#!/bin/sh\ncase \"$*\" in " + runs + ") exit 9 ;; esac\n");
    std::filesystem::remove_all(folder_ / "out");
    const Result result = on("");
    EXPECT_EQ(result.code, 1) << runs;
    EXPECT_THAT(result.err, HasSubstr(sentence)) << runs;
    EXPECT_THAT(read("out/summary.md"), HasSubstr("* " + sentence)) << runs;
  };
  expect_wrong("*racecheck*lean.json*plain*", "racecheck lean plain: errors");
  EXPECT_THAT(read("out/summary.md"), HasSubstr("* racecheck plain: 1 errors\n* racecheck plain: 2 passed\n"));
  EXPECT_THAT(read("out/summary.md"), HasSubstr("* memcheck plain: 3 passed\n"));
  expect_wrong("*memcheck*lean.json*bulk*", "memcheck lean bulk: errors");
  expect_wrong("*racecheck*lean.json*bulk*", "racecheck lean bulk: errors");
  EXPECT_THAT(read("out/summary.md"), HasSubstr("* racecheck bulk: 1 errors\n* racecheck bulk: 2 passed\n"));
  expect_wrong("*synccheck*lean-wgmma.json*", "synccheck lean wgmma: errors");
}

TEST_F(PlayedDevice, IsNotWrongWhereTheSanitizerDoesNotKnowIt) {
  write_program(
      "compute-sanitizer",
      "#!/bin/sh\necho \"$*\" >>sanitizer-calls.txt\necho '========= Error: Device not supported.'\nexit 9\n");
  const Result result = on("");
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(read("out/summary.md"), HasSubstr("* compute-sanitizer: doesn't support this device: accesses, races"));
  EXPECT_THAT(read("out/summary.md"), Not(HasSubstr("## compute-sanitizer")));
  const std::string calls = read("sanitizer-calls.txt");
  EXPECT_EQ(calls.find('\n') + 1, calls.size()) << "asked once: " << calls;
}

TEST_F(PlayedDevice, IsSanitizedInTheTimeThatIsLeft) {
  write_program("compute-sanitizer", "#!/bin/sh\necho sanitized >>calls.txt\n");
  EXPECT_EQ(on("").code, 0);
  const std::string calls = read("calls.txt");
  EXPECT_LT(calls.rfind("/more-32-32-shapes"), calls.find("sanitized"));
}

TEST_F(PlayedDevice, HasItsBytesCountedOverAPlansOwnKernels) {
  const auto counted = [&](const std::string& kernel) {
    const std::string row = "echo '\"0\",\"1\",\"espalier\",\"host\",\"" + kernel + "\",\"dram__bytes_";
    write_program(
        "ncu",
        "#!/bin/sh\necho \"$*\" >>ncu.txt\n" + row + "read.sum\",\"byte\",\"30\"'\n" + row +
            "write.sum\",\"byte\",\"4\"'\n" +
            "echo '\"1\",\"1\",\"espalier\",\"host\",\"reduce_kernel\",\"dram__bytes_read.sum\",\"byte\",\"12\"'\n");
    std::filesystem::remove_all(folder_ / "out");
    EXPECT_EQ(on("").code, 0);
  };
  counted("void attend_bulk_kernel<1>");
  EXPECT_THAT(read("ncu.txt"), HasSubstr("--launch-count 2 "));
  EXPECT_THAT(read("out/dram.csv"), HasSubstr("\npat20-01__32-8-128__espalier.json,2,42,4,77\n"));
  counted("void stream_kernel<8>");
  EXPECT_THAT(read("out/dram.csv"), Not(HasSubstr("pat20")));
  EXPECT_THAT(read("out/summary.md"), HasSubstr("one of them void stream_kernel<8>"));
}

}  // namespace
