/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The daemon's names on D-Bus, on the system bus and on its private socket alike. */

#define BUS_DEFAULT_SOCKET RUNSTATEDIR "/snapmgr/bus"
#define BUS_NAME "org.snapmgr.Manager1"
#define BUS_PATH_MANAGER "/org/snapmgr/Manager1"
#define BUS_INTERFACE_MANAGER "org.snapmgr.Manager1"

#define BUS_ERROR_FAILED "org.snapmgr.Error.Failed"
#define BUS_ERROR_USAGE "org.snapmgr.Error.Usage"
#define BUS_ERROR_PARTLY "org.snapmgr.Error.Partly"
#define BUS_ERROR_NOT_RESTORABLE "org.snapmgr.Error.NotRestorable"
#define BUS_ERROR_POLICY "org.snapmgr.Error.Policy"
#define BUS_ERROR_NO_POLICY "org.snapmgr.Error.NoSuchPolicy"
#define BUS_ERROR_NO_GENERATION "org.snapmgr.Error.NoSuchGeneration"
#define BUS_ERROR_LOCKED "org.snapmgr.Error.Locked"
