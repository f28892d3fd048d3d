"""Airflow (2.4 or newer, and 3): a night a day, after the log of the day is there.

Put into the folder of DAGs; `LOGS`, `WORK` and `PROJECT` are Airflow variables or the defaults.
"""

import datetime

from airflow import DAG
from airflow.timetables.interval import CronDataIntervalTimetable

try:  # Airflow 3
    from airflow.providers.standard.operators.bash import BashOperator
    from airflow.providers.standard.sensors.filesystem import FileSensor
except ImportError:
    from airflow.operators.bash import BashOperator
    from airflow.sensors.filesystem import FileSensor

PROJECT = "{{ var.value.get('syncrec_project', '/srv/tf_syncrec') }}"
LOGS = "{{ var.value.get('syncrec_logs', '/srv/logs') }}"
WORK = "{{ var.value.get('syncrec_work', '/srv/work') }}"

with DAG(
    dag_id="syncrec_night",
    # Of the interval that has ended: `ds` is the day before, in Airflow 3 as in 2.
    schedule=CronDataIntervalTimetable("0 3 * * *", timezone="UTC"),
    start_date=datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 4, "retry_delay": datetime.timedelta(minutes=5)},
) as dag:
    log = FileSensor(
        task_id="log_of_the_day",
        filepath=LOGS + "/{{ ds }}.csv",
        mode="reschedule",
        timeout=4 * 3600,
    )
    # Killed or failed, it is given again and goes on. Exit code 3, held back, is no failure that a
    # retry would mend: the task is skipped, which an alert may look for.
    night = BashOperator(
        task_id="night",
        bash_command=f"{PROJECT}/.venv/bin/python {PROJECT}/examples/nightly/night.py "
        f"--logs {LOGS} --work {WORK}",
        skip_on_exit_code=[3],
        execution_timeout=datetime.timedelta(hours=6),
    )
    log >> night
