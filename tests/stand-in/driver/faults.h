// What shall go wrong, and what device there shall be: settings of the form `key=value`, from the environment or from
// a test.
#pragma once

#include <string>

#include "report.h"

namespace stand_in {

struct Machine {
    int devices = 1;
    int driver_version = 13000;  // 13.0, as cuDriverGetVersion writes it: that of the kernels' compiler
    int architecture = 80;
};

const Machine& machine();

// One of
//     schedule=eager | schedule=lazy | schedule=random:SEED
//     memory=BYTES   devices=N   driver=VERSION   architecture=NN
//     fail=CALL:N:STATUS     the Nth call from now of this name answers with the number STATUS
//     journal=PATH           the journal (schedule.h) is written there when the process ends
// False if it is none of these.
bool apply_setting(const std::string& setting);
// Settings with commas between them, from FIRSTLIGHT_STAND_IN; a wrong one ends the process.
void apply_environment();

// What the settings say of this call; SUCCESS mostly.
Status planned_fault(const char* call);
void forget_faults();

}  // namespace stand_in
